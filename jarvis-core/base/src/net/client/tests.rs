use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::clock::SystemClock;

/// A server that keeps the heads of its requests and answers each connection with these bytes,
/// and then says nothing more.
struct Server {
    port: u16,
    heads: mpsc::UnboundedReceiver<String>,
}

impl Server {
    async fn start(answer: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, heads) = mpsc::unbounded_channel();
        let answer = answer.into();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (sender, answer) = (sender.clone(), answer.clone());
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {
                        if head.windows(4).any(|end| end == b"\r\n\r\n") {
                            sender.send(String::from_utf8(std::mem::take(&mut head)).unwrap()).ok();
                            stream.write_all(&answer).await.ok();
                        }
                    }
                });
            }
        });
        Self { port, heads }
    }

    fn url(&self, path: &str) -> WebUrl {
        url(&format!("http://127.0.0.1:{}{path}", self.port))
    }
}

fn url(text: &str) -> WebUrl {
    WebUrl::parse(&Secret::new(text.to_owned())).unwrap()
}

fn clock() -> SharedClock {
    Arc::new(SystemClock::new())
}

fn client() -> HttpClient {
    HttpClient::new(&TlsPolicy::default(), clock()).unwrap()
}

#[tokio::test]
async fn connections_are_used_again_and_bodies_are_bounded() {
    let mut server = Server::start("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    let client = client();
    for _ in 0..2 {
        let answer = client.call(HttpCall::get(&server.url("/x"))).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.body(5).await.unwrap(), "hello");
    }
    let mut heads = Vec::new();
    for _ in 0..2 {
        heads.push(server.heads.recv().await.unwrap());
    }
    assert!(heads[0].starts_with("GET /x HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads[0].contains("user-agent: jarvis/"), "{heads:?}");
    let answer = client.send(HttpCall::get(&server.url("/x"))).await.unwrap();
    let error = answer.body(4).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn the_deadline_of_a_call_includes_its_body() {
    let client = client();
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe";
    let timeout = Duration::from_millis(200);
    let stalled = Server::start(head).await;
    let call = HttpCall::get(&stalled.url("/")).with_timeout(timeout);
    let mut answer = client.call(call).await.unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "he");
    let error = answer.body(100).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Timeout, Retry::Indeterminate));

    let silent = Server::start("").await;
    let call = HttpCall::get(&silent.url("/secret-path")).with_timeout(timeout);
    let error = client.call(call).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Timeout, Retry::Indeterminate));
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}

#[tokio::test]
async fn nobody_there_is_safe_to_repeat() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let gone = url(&format!("http://127.0.0.1:{port}/secret-path"));
    let error = client().call(HttpCall::get(&gone)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.retry(), Retry::Safe { after: None });
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}

#[tokio::test]
async fn an_error_shows_the_answer_without_any_secret() {
    let secrets = ["path-secret", "query-secret", "header-secret", "named-secret", "pw-secret"];
    let body = format!("no: {}\nmore", secrets.join(" "));
    let head = "HTTP/1.1 503 Busy\r\nretry-after: 7\r\n";
    let server = Server::start(format!("{head}content-length: {}\r\n\r\n{body}", body.len())).await;
    let target =
        url(&format!("http://u:pw-secret@127.0.0.1:{}/a/path-secret?k=query-secret", server.port));
    let mut value = HeaderValue::from_static("header-secret");
    value.set_sensitive(true);
    let headers = HeaderMap::from_iter([(hyper::header::AUTHORIZATION, value)]);
    let call = HttpCall::post_json(&target, "{}")
        .with_headers(headers)
        .with_secrets([Secret::new("named-secret".to_owned())]);
    assert!(!format!("{call:?}").contains("secret"), "{call:?}");
    let error = client().call(call).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    let shown = format!("{error:?}");
    assert!(shown.contains("no: [redacted]") && !shown.contains("-secret"), "{shown}");
}

#[tokio::test]
async fn a_secret_that_the_limit_cut_is_not_shown_in_part() {
    // The redacted secrets make room, so that the cut one moves into what is shown.
    let secret = "a-rather-long-secret-".repeat(10);
    let body = format!("{}{}", secret.repeat(9), &secret[..200]);
    assert!(body.len() > 2_048);
    let head = format!("HTTP/1.1 400 No\r\ncontent-length: {}\r\n\r\n", body.len());
    let server = Server::start(head + &body).await;
    let call = HttpCall::get(&server.url("/")).with_secrets([Secret::new(secret)]);
    let error = client().call(call).await.unwrap_err();
    assert!(!format!("{error:?}").contains("rather"), "{error:?}");
}

#[tokio::test]
async fn a_redirect_is_an_error() {
    let elsewhere = Server::start("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let location = format!("http://127.0.0.1:{}/", elsewhere.port);
    let answer = format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
    let server = Server::start(answer).await;
    let error = client().call(HttpCall::get(&server.url("/"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains("redirects are not followed"), "{error}");
    assert!(elsewhere.heads.is_empty());
}

#[tokio::test]
async fn a_proxy_is_used_but_never_for_this_machine() {
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let (mut proxy, mut server) = (Server::start(ok).await, Server::start(ok).await);
    let config = TlsPolicy::default().client_config().unwrap();
    let address = format!("http://127.0.0.1:{}", proxy.port);
    let proxied = usual(&config).proxy(reqwest::Proxy::all(address).unwrap());
    let client = HttpClient::assemble(usual(&config).no_proxy(), Some(proxied), clock()).unwrap();
    client.call(HttpCall::get(&url("http://far.invalid/x"))).await.unwrap();
    let head = proxy.heads.recv().await.unwrap();
    assert!(head.starts_with("GET http://far.invalid/x HTTP/1.1\r\n"), "{head}");
    client.call(HttpCall::get(&server.url("/y"))).await.unwrap();
    assert!(server.heads.recv().await.unwrap().starts_with("GET /y HTTP/1.1\r\n"));
    assert!(proxy.heads.is_empty());
}
