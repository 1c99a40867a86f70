//! The demo's services: small real servers in processes of their own, so that what the demo
//! shows is what happens.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::args::{Protocol, StandInArgs};
use crate::exit::ExitStatus;

/// Longer requests are not answered.
const MAX_REQUEST: usize = 8 * 1024;

/// Serves until it is killed.
pub(crate) async fn serve(args: StandInArgs) -> io::Result<ExitStatus> {
    if let Some(file) = args.broken_while.as_ref().filter(|file| file.exists()) {
        log(&format!("{}: the model's weights are damaged ({})", args.name, file.display()));
        return Ok(ExitStatus::Failed);
    }
    if let Some(pid) = args.exit_with.and_then(Pid::from_raw) {
        tokio::spawn(exit_with(pid));
    }
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, args.port))).await?;
    log(&format!("{}: listening on {}", args.name, listener.local_addr()?));
    loop {
        let (stream, _) = listener.accept().await?;
        let protocol = args.protocol;
        tokio::spawn(async move {
            match answer(stream, protocol).await {
                Err(error) if error.kind() != ErrorKind::ConnectionReset => log(&error.to_string()),
                _ => {}
            }
        });
    }
}

/// Ends this process when that one does, so that a demo that was killed leaves nothing behind.
async fn exit_with(pid: Pid) {
    if let Ok(descriptor) = pidfd_open(pid, PidfdFlags::NONBLOCK)
        && let Ok(descriptor) = AsyncFd::new(descriptor)
    {
        let _ = descriptor.readable().await;
    }
    std::process::exit(0);
}

#[expect(clippy::print_stderr, reason = "a service's own log")]
fn log(line: &str) {
    eprintln!("{line}");
}

async fn answer(mut stream: TcpStream, protocol: Protocol) -> io::Result<()> {
    let request = read_request(&mut stream, protocol).await?;
    stream.write_all(reply(protocol, &request)).await?;
    stream.shutdown().await
}

async fn read_request(stream: &mut TcpStream, protocol: Protocol) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    while request.len() < MAX_REQUEST && !is_complete(protocol, &request) {
        if stream.read_buf(&mut request).await? == 0 {
            break;
        }
    }
    Ok(request)
}

fn is_complete(protocol: Protocol, request: &[u8]) -> bool {
    match protocol {
        Protocol::Http => request.windows(4).any(|four| four == b"\r\n\r\n"),
        Protocol::Redis => request.ends_with(b"\r\n"),
        // A startup message begins with its own length.
        Protocol::Postgres => request
            .first_chunk()
            .is_some_and(|length| request.len() >= u32::from_be_bytes(*length) as usize),
    }
}

/// What the real service would say that is well: FastAPI's health route, Redis' PONG, the
/// password request of `PostgreSQL` (or "no TLS" to an SSLRequest).
fn reply(protocol: Protocol, request: &[u8]) -> &'static [u8] {
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
    match protocol {
        Protocol::Http => {
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\nconnection: close\r\n\r\n{\"status\":\"ok\"}"
        }
        Protocol::Redis => b"+PONG\r\n",
        Protocol::Postgres if request.starts_with(&SSL_REQUEST) => b"N",
        Protocol::Postgres => &[b'R', 0, 0, 0, 8, 0, 0, 0, 3],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_http_answer_counts_its_bytes() {
        let answer = String::from_utf8(reply(Protocol::Http, b"").to_vec()).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())));
    }

    #[test]
    fn a_request_is_read_to_its_end() {
        assert!(!is_complete(Protocol::Http, b"GET / HTTP/1.1\r\n"));
        assert!(is_complete(Protocol::Redis, b"*1\r\n$4\r\nPING\r\n"));
        assert!(!is_complete(Protocol::Postgres, &[0, 0, 0, 9, 0, 3, 0, 0]));
        assert!(is_complete(Protocol::Postgres, &[0, 0, 0, 9, 0, 3, 0, 0, 0]));
    }
}
