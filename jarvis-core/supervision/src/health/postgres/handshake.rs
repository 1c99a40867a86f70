//! The cheap way: a startup packet, and one message back (protocol 3.0).

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::kind_of;
use crate::health::Observation;
use base::net::address::Endpoint;
use base::net::stream::Socket;
use base::net::timing::{Meter, ProbeError, Step};
use base::text::excerpt;
use base::vocabulary::FailureKind;

const PROTOCOL: i32 = 3 << 16;
const MOST_READ: usize = 16 * 1_024;
/// `Terminate`, for the case that the server lets us in without a password.
const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];

/// The startup packet for this user and database.
pub(super) fn startup_packet(server: &tokio_postgres::Config) -> Box<[u8]> {
    let user = server.get_user().unwrap_or(super::DEFAULT_USER);
    let database = server.get_dbname().unwrap_or(user);
    let mut body = PROTOCOL.to_be_bytes().to_vec();
    for text in ["user", user, "database", database, "application_name", "jarvis"] {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    body.push(0);
    let length = i32::try_from(body.len() + 4).unwrap_or(i32::MAX);
    [&length.to_be_bytes()[..], &body].concat().into()
}

/// Sends it and judges the answer.
pub(super) async fn shake_hands(
    packet: &[u8],
    mut socket: Socket,
    endpoint: &Endpoint,
    meter: &mut Meter,
) -> Step<Observation> {
    let io = |error| ProbeError::io(error, &endpoint.to_string());
    let asked = meter.now();
    socket.write_all(packet).await.map_err(io)?;
    socket.flush().await.map_err(io)?;
    let kind = socket.read_u8().await.map_err(io)?;
    meter.phases.first_byte = Some(meter.since(asked));
    let length = socket.read_u32().await.map_err(io)?;
    let length = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(4);
    if !matches!(kind, b'R' | b'E' | b'N' | b'v') || length > MOST_READ {
        return Err(no_postgres(endpoint));
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.map_err(io)?;
    match kind {
        b'R' if body.len() < 4 => Err(no_postgres(endpoint)),
        b'R' if body.starts_with(&[0, 0, 0, 0]) => {
            // A courtesy: without it the server notes that the client went away.
            socket.write_all(&TERMINATE).await.ok();
            Ok(Observation::pass("accepts connections"))
        }
        b'E' => refused(&body).ok_or_else(|| no_postgres(endpoint)),
        _ => Ok(Observation::pass("accepts connections")),
    }
}

/// What the fields of an `ErrorResponse` say.
fn refused(body: &[u8]) -> Option<Observation> {
    let field = |mark: u8| {
        let fields = body.split(|byte| *byte == 0).filter(|field| !field.is_empty());
        fields.filter(|field| field[0] == mark).map(|field| excerpt(&field[1..], 200)).next()
    };
    let code = field(b'C')?;
    let message = field(b'M').unwrap_or_default();
    let observation = match kind_of(&code) {
        // Whoever refuses a stranger is alive: no credentials were offered.
        None | Some(FailureKind::Auth) => Observation::pass("accepts connections"),
        Some(kind) => Observation::fail(kind, message),
    };
    Some(observation.with_fact("sqlstate", code))
}

pub(super) fn no_postgres(endpoint: &Endpoint) -> ProbeError {
    let message =
        format!("{endpoint} is not a PostgreSQL server: its answer does not follow the protocol");
    ProbeError::failed(FailureKind::Protocol, message)
}
