//! The demo's services: small real servers in processes of their own.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::args::{Protocol, StandInArgs};
use crate::exit::ExitStatus;

/// How the name of a demo's directory begins.
pub(crate) const FOLDER_PREFIX: &str = "jarvis-demo.";

/// Longer requests are not answered.
const MAX_REQUEST: usize = 8 * 1024;

/// Serves until it is killed.
pub(crate) async fn serve(args: StandInArgs) -> io::Result<ExitStatus> {
    if let Some(file) = args.broken_while.as_ref().filter(|file| file.exists()) {
        log(&format!("{}: the model's weights are damaged ({})", args.name, file.display()));
        return Ok(ExitStatus::Failed);
    }
    if let Some(pid) = args.exit_with.and_then(Pid::from_raw) {
        let folder = args.folder.clone();
        std::thread::Builder::new().spawn(move || exit_with(pid, folder.as_deref()))?;
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

/// Ends this process when that one does, and takes its folder away, so that a demo that was killed
/// leaves nothing behind.
fn exit_with(pid: Pid, folder: Option<&Path>) {
    if let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) {
        let mut wait = [PollFd::new(&descriptor, PollFlags::IN)];
        while poll(&mut wait, None) == Err(rustix::io::Errno::INTR) {}
    }
    if let Some(folder) = folder {
        remove(folder);
    }
    std::process::exit(0);
}

/// All stand-ins of a demo do this at once; one that fails because another was faster tries again.
fn remove(folder: &Path) {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !name.starts_with(FOLDER_PREFIX) {
        return;
    }
    for _ in 0..100 {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {}
            _ if !folder.exists() => return,
            _ => {}
        }
    }
}

#[expect(clippy::print_stderr, reason = "a service's own log")]
fn log(line: &str) {
    eprintln!("{line}");
}

async fn answer(mut stream: TcpStream, protocol: Protocol) -> io::Result<()> {
    let mut request = Vec::new();
    while request.len() < MAX_REQUEST {
        while let Some((length, reply, last)) = respond(protocol, &request) {
            stream.write_all(reply).await?;
            if last {
                return stream.shutdown().await;
            }
            request.drain(..length);
        }
        if stream.read_buf(&mut request).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// The answer of a healthy service, once a request is complete: the length of the request, the
/// answer, and whether it is the last one.
fn respond(protocol: Protocol, request: &[u8]) -> Option<(usize, &'static [u8], bool)> {
    match protocol {
        Protocol::Http => http(request),
        Protocol::Redis => redis(request),
        Protocol::Postgres => postgres(request),
    }
}

/// A health route as FastAPI and Express have them.
fn http(request: &[u8]) -> Option<(usize, &'static [u8], bool)> {
    const HEALTHY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\nconnection: close\r\n\r\n{\"status\":\"ok\"}";
    let end = request.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    Some((end, HEALTHY, true))
}

/// One command of a pipeline: `*1\r\n$4\r\nPING\r\n`.
fn redis(request: &[u8]) -> Option<(usize, &'static [u8], bool)> {
    let text = std::str::from_utf8(request).ok()?;
    let (count, _) = text.strip_prefix('*')?.split_once("\r\n")?;
    // The count, and for each word its length and itself.
    let lines = 1 + 2 * count.parse::<usize>().ok()?;
    let ends: Vec<usize> = text.match_indices("\r\n").map(|(at, _)| at + 2).take(lines).collect();
    let end = *ends.get(lines - 1)?;
    let name = text[..end].split("\r\n").nth(2).unwrap_or_default();
    let reply: &[u8] = match name {
        "PING" => b"+PONG\r\n",
        "ROLE" => b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n",
        _ => b"-ERR unknown command\r\n",
    };
    Some((end, reply, false))
}

/// The handshake: no TLS, then a password is asked for. A message begins with its own length.
fn postgres(request: &[u8]) -> Option<(usize, &'static [u8], bool)> {
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
    let length = u32::from_be_bytes(*request.first_chunk()?) as usize;
    let complete = (4..=MAX_REQUEST).contains(&length) && request.len() >= length;
    match request.strip_prefix(&SSL_REQUEST) {
        Some(_) => Some((length, b"N", false)),
        None => complete.then_some((length, &[b'R', 0, 0, 0, 8, 0, 0, 0, 3], true)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_http_answer_counts_its_bytes() {
        assert!(http(b"GET / HTTP/1.1\r\n").is_none());
        let (_, answer, _) = http(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let answer = String::from_utf8(answer.to_vec()).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())));
    }

    #[test]
    fn a_pipeline_is_answered_command_by_command() {
        let pipeline = b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nROLE\r\n*1\r\n$4";
        let (length, pong, _) = redis(pipeline).unwrap();
        assert_eq!((length, pong), (14, &b"+PONG\r\n"[..]));
        let (length, role, _) = redis(&pipeline[14..]).unwrap();
        assert!(role.starts_with(b"*3"));
        assert!(redis(&pipeline[14 + length..]).is_none());
    }

    #[test]
    fn a_handshake_is_read_to_its_end() {
        assert!(postgres(&[0, 0, 0, 9, 0, 3, 0, 0]).is_none());
        assert_eq!(postgres(&[0, 0, 0, 9, 0, 3, 0, 0, 0]).unwrap().0, 9);
        assert_eq!(postgres(&[0, 0, 0, 8, 4, 210, 22, 47]).unwrap(), (8, &b"N"[..], false));
    }
}
