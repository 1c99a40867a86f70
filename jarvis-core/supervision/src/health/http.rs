//! [`HttpProbe`]: asks over HTTP/1.1, on a new connection, and looks at status, headers, body and
//! certificate.

mod config;
pub(crate) mod judge;
mod login;
mod rule;

use std::fmt::{self, Debug};
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue, LOCATION};
use hyper::http::response::Parts;
use hyper::{Method, StatusCode};

pub use config::{Expect, HttpConfig, StatusSet};
pub use rule::{Operators, RuleConfig};

use self::judge::{Rules, judge};
use super::tls;
use super::{HealthProbe, Observation, ProbeContext, meter};
use base::net::exchange::target::Target;
use base::net::exchange::{Answered, Call, Link, Receive, exchange};
use base::net::resolve::Resolver;
use base::net::timing::{Meter, ProbeError, Step};
use base::net::tls::{TlsClient, Validity};
use base::secret::REDACTED;
use base::sync::Mutex;
use base::vocabulary::FailureKind;
use base::{Error, ErrorKind, Result};

const MOST_BODY: u64 = 16 << 20;
const MOST_HOPS: u8 = 10;

/// Measures one URL.
pub struct HttpProbe {
    target: Target,
    /// All plain probes share one.
    plan: Arc<Plan>,
    kept: Option<Box<Mutex<Option<Link>>>>,
    resolver: Option<Box<Resolver>>,
}

/// What is asked and what is expected, wherever it goes.
struct Plan {
    method: Method,
    headers: Box<[(HeaderName, HeaderValue)]>,
    body: Bytes,
    rules: Option<Rules>,
    tls: Option<TlsClient>,
    follow: u8,
    follow_other_hosts: bool,
    max_body: usize,
}

impl Plan {
    /// The plan of a configuration. The one of plain probes is made once: somebody may have
    /// thousands of them.
    fn of(config: &HttpConfig, target: &Target) -> Result<Arc<Self>> {
        static PLAIN: OnceLock<Arc<Plan>> = OnceLock::new();
        if target.secure || !config.is_plain() {
            return Self::new(config, target).map(Arc::new);
        }
        if let Some(plain) = PLAIN.get() {
            return Ok(Arc::clone(plain));
        }
        let plain = Arc::new(Self::new(config, target)?);
        Ok(Arc::clone(PLAIN.get_or_init(|| plain)))
    }

    fn new(config: &HttpConfig, target: &Target) -> Result<Self> {
        if config.follow > MOST_HOPS || config.max_body > MOST_BODY {
            return Err(Error::new(
                ErrorKind::ConfigInvalid,
                "\"follow\" is at most 10 and \"max_body\" at most 16MiB",
            ));
        }
        let wants_tls = target.secure || config.follow > 0;
        let tls = wants_tls.then(|| config.tls.client(&target.endpoint));
        Ok(Self {
            method: parse_method(&config.method)?,
            headers: parse_headers(config)?,
            body: config.body.as_ref().map_or_else(Bytes::new, |body| body.expose().clone().into()),
            rules: config.expect.as_ref().map(Rules::new).transpose()?,
            tls: tls.transpose()?,
            follow: config.follow,
            follow_other_hosts: config.follow_other_hosts,
            max_body: usize::try_from(config.max_body).unwrap_or(usize::MAX),
        })
    }
}

impl Debug for HttpProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpProbe")
            .field("method", &self.plan.method)
            .field("target", &format_args!("{}", self.target))
            .finish_non_exhaustive()
    }
}

impl HttpProbe {
    /// Checks the configuration and reads `tls.ca_file`; touches no network.
    ///
    /// # Errors
    /// `ConfigInvalid`: an URL, method, header, expression, JSON path or limit that is none, or a
    /// `ca_file` that can't be read.
    pub fn new(config: &HttpConfig) -> Result<Self> {
        let config = login::as_header(config)?;
        let target = Target::parse(&config.url)?;
        Ok(Self {
            plan: Plan::of(&config, &target)?,
            kept: config.reuse.then(Box::default),
            resolver: None,
            target,
        })
    }

    /// Resolves names with this resolver instead of the machine's.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = Some(Box::new(resolver));
        self
    }

    async fn run(&self, context: &ProbeContext, meter: &mut Meter) -> Step<Observation> {
        let mut sheet = Sheet::new(self.plan.max_body);
        let answered = self.ask(context, meter, &mut sheet).await?;
        if self.plan.follow > 0 && self.wants_to_follow(&answered.head) {
            return self.follow(answered.head, meter).await;
        }
        Ok(self.judge(&answered.head, answered.validity.as_ref(), &sheet))
    }

    async fn ask(
        &self,
        context: &ProbeContext,
        meter: &mut Meter,
        sheet: &mut Sheet,
    ) -> Step<Answered> {
        let call = self.call(&self.target, !context.fresh && self.kept.is_some());
        let kept = if context.fresh { None } else { self.take() };
        let mut answered = exchange(&call, kept, meter, sheet).await?;
        if let (Some(link), Some(place)) = (answered.link.take(), &self.kept) {
            *place.lock() = Some(link);
        }
        Ok(answered)
    }

    fn call<'a>(&'a self, target: &'a Target, keep: bool) -> Call<'a> {
        Call {
            target,
            method: &self.plan.method,
            headers: &self.plan.headers,
            body: self.plan.body.clone(),
            tls: self.plan.tls.as_ref(),
            resolver: self.resolver.as_deref(),
            keep,
        }
    }

    fn take(&self) -> Option<Link> {
        self.kept.as_ref()?.lock().take()
    }

    fn judge(&self, head: &Parts, validity: Option<&Validity>, sheet: &Sheet) -> Observation {
        let observation = judge(self.plan.rules.as_ref(), head, &sheet.bytes, sheet.cut);
        match validity {
            Some(validity) => tls::judge(validity, observation),
            None => observation,
        }
    }

    fn wants_to_follow(&self, head: &Parts) -> bool {
        let redirect = matches!(head.status.as_u16(), 301 | 302 | 303 | 307 | 308);
        redirect && !self.plan.rules.as_ref().is_some_and(|rules| rules.allows(head.status))
    }

    /// Follows redirects to their end. A boxed future: most probes never come here.
    fn follow<'a>(
        &'a self,
        head: Parts,
        meter: &'a mut Meter,
    ) -> futures_util::future::BoxFuture<'a, Step<Observation>> {
        Box::pin(async move {
            let mut head = head;
            let mut hop = Hop::first(self);
            loop {
                hop.next(self, &head)?;
                let mut sheet = Sheet::new(self.plan.max_body);
                let tls = self
                    .plan
                    .tls
                    .as_ref()
                    .map(|tls| tls.renamed(&self.target.endpoint, &hop.target.endpoint))
                    .transpose()?;
                let call = Call {
                    target: &hop.target,
                    method: &hop.method,
                    headers: if hop.trusted { &self.plan.headers } else { &[] },
                    body: hop.body.clone(),
                    tls: tls.as_ref(),
                    resolver: self.resolver.as_deref(),
                    keep: false,
                };
                let answered = exchange(&call, None, meter, &mut sheet).await?;
                head = answered.head;
                if !self.wants_to_follow(&head) {
                    return Ok(self.judge(&head, answered.validity.as_ref(), &sheet));
                }
            }
        })
    }

    /// Takes our own secrets out of what the other side may have echoed.
    fn scrub(&self, mut observation: Observation) -> Observation {
        if observation.kind.is_none() || (self.plan.headers.is_empty() && self.plan.body.is_empty())
        {
            return observation;
        }
        let secrets = self.plan.headers.iter().map(|(_, value)| value.as_bytes());
        for secret in secrets.chain([&self.plan.body[..]]) {
            if let Ok(secret) = str::from_utf8(secret)
                && secret.len() > 3
                && observation.message.contains(secret)
            {
                observation.message = observation.message.replace(secret, REDACTED).into();
            }
        }
        observation
    }
}

#[async_trait]
impl HealthProbe for HttpProbe {
    async fn probe(&self, context: ProbeContext) -> Result<Observation> {
        let mut meter = meter::start(&context);
        let outcome = context.until_deadline(self.run(&context, &mut meter)).await;
        let target = if outcome.is_none() { self.target.to_string() } else { String::new() };
        meter::finish(&meter, outcome, &target).map(|observation| self.scrub(observation))
    }
}

/// One step on the way of redirects.
struct Hop {
    target: Target,
    method: Method,
    body: Bytes,
    trusted: bool,
    seen: Vec<String>,
}

impl Hop {
    fn first(probe: &HttpProbe) -> Self {
        Self {
            target: probe.target.clone(),
            method: probe.plan.method.clone(),
            body: probe.plan.body.clone(),
            trusted: true,
            seen: Vec::new(),
        }
    }

    fn next(&mut self, probe: &HttpProbe, head: &Parts) -> Step<()> {
        let wrong = |what: String| {
            Err(ProbeError::failed(FailureKind::ClientError, format!("{}: {what}", head.status)))
        };
        let location = head.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let Some(next) = location.and_then(|location| self.target.redirected(location)) else {
            return wrong("redirects without a usable Location".to_owned());
        };
        self.seen.push(format!("{}{}", self.target.endpoint, self.target.path));
        if self.seen.contains(&format!("{}{}", next.endpoint, next.path)) {
            return wrong(format!("the redirects go in a circle, to {next}"));
        }
        if self.seen.len() > usize::from(probe.plan.follow) {
            return wrong(format!("more than {} redirects", probe.plan.follow));
        }
        if !next.stays_with(&self.target) {
            if !probe.plan.follow_other_hosts {
                return wrong(format!(
                    "redirects to another host, {next}; follow_other_hosts allows it"
                ));
            }
            self.trusted = false;
        }
        let becomes_get = match head.status {
            StatusCode::SEE_OTHER => self.method != Method::HEAD,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => self.method == Method::POST,
            _ => false,
        };
        if becomes_get || !self.trusted {
            self.body = Bytes::new();
        }
        if becomes_get {
            self.method = Method::GET;
        }
        self.target = next;
        Ok(())
    }
}

/// As much of a body as is wanted.
struct Sheet {
    bytes: Vec<u8>,
    most: usize,
    cut: bool,
}

impl Sheet {
    const fn new(most: usize) -> Self {
        Self { bytes: Vec::new(), most, cut: false }
    }
}

impl Receive for Sheet {
    fn head(&mut self, _: &Parts) {
        self.bytes.clear();
        self.cut = false;
    }

    fn data(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        let room = self.most - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() <= room {
            return ControlFlow::Continue(());
        }
        self.cut = true;
        ControlFlow::Break(())
    }
}

fn parse_method(text: &str) -> Result<Method> {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let upper = text.to_ascii_uppercase();
    upper.parse().ok().filter(|_| known.contains(&upper.as_str())).ok_or_else(|| {
        Error::new(
            ErrorKind::ConfigInvalid,
            format!("{text:?} is not a supported method; use one of {}", known.join(", ")),
        )
    })
}

fn parse_headers(config: &HttpConfig) -> Result<Box<[(HeaderName, HeaderValue)]>> {
    let parse = |(name, value): (&String, &base::Secret<String>)| {
        let parsed =
            name.parse::<HeaderName>().ok().zip(value.expose().parse::<HeaderValue>().ok());
        let (name, mut value) = parsed.ok_or_else(|| {
            Error::new(
                ErrorKind::ConfigInvalid,
                format!("the request header {name:?} has a name or value that HTTP does not allow"),
            )
        })?;
        value.set_sensitive(true);
        Ok((name, value))
    };
    config.headers.iter().map(parse).collect()
}
