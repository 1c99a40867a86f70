//! A Redis server of a bench's own: loopback, a free port, nothing on disk.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;

/// Ends with this value.
#[derive(Debug)]
pub struct RedisServer {
    child: Option<Child>,
    folder: tempfile::TempDir,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

impl RedisServer {
    /// Starts Debian's `redis-server` and waits until it answers.
    ///
    /// # Errors
    /// When it is not installed, or does not answer within 10 s.
    pub fn start() -> Result<Self, Failure> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut server = Self { child: None, folder: tempfile::tempdir()?, port };
        server.start_again()?;
        Ok(server)
    }

    /// Starts it on its port, without waiting for it.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn launch(&mut self) -> Result<(), Failure> {
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--port")
            .arg(self.port.to_string())
            .arg("--dir")
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("redis-server (Debian package) did not start: {error}"))?;
        self.child = Some(child);
        Ok(())
    }

    /// Starts it on its port and waits until it answers.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_again(&mut self) -> Result<(), Failure> {
        self.launch()?;
        #[expect(clippy::disallowed_methods, reason = "real time is what benches are about")]
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.answers() {
            #[expect(clippy::disallowed_methods, reason = "real time is what benches are about")]
            if Instant::now() > deadline {
                return Err("redis-server does not answer".into());
            }
            #[expect(clippy::disallowed_methods, reason = "real time is what benches are about")]
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Does it answer a PING?
    #[must_use]
    pub fn answers(&self) -> bool {
        let ask = || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
            stream.write_all(b"PING\r\n")?;
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer)?;
            Ok(answer == "+PONG\r\n")
        };
        ask().unwrap_or(false)
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// For clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}
