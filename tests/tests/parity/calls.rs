//! The methods that a step may call: what the bindings' methods of the same name do.

use std::time::Duration;

use jarvis_core::cache::{
    Cache, CacheValue, Condition, Entry, Lifetime, LoadOptions, SetOptions, loader,
};
use jarvis_core::events::{Envelope, Event, EventBus, Filter, Message, TopicName, TopicPattern};
use jarvis_core::session::{
    Merged, NewSession, Save, SaveOutcome, Session, SessionData, SessionExt, SessionId,
    SessionMeta, SessionRef, SessionStore, UPDATE_DEADLINE,
};
use jarvis_core::vocabulary::{ServiceId, UserId};
use jarvis_core::{Error, ErrorKind, Jarvis, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::play::{Ended, Stream};
use crate::{operator, web};

pub(crate) type Options = Map<String, Value>;

/// `Err` where the case itself is wrong.
pub(crate) async fn call(
    jarvis: &Jarvis,
    name: &str,
    args: &[Value],
    options: &Options,
) -> std::result::Result<Ended, String> {
    let (part, method) = name.split_once('.').ok_or("part.method")?;
    let ended = match part {
        "sessions" => match jarvis.sessions().await {
            Ok(store) => sessions(&*store, method, args, options).await,
            Err(error) => Err(error),
        },
        "cache" => match jarvis.cache().await {
            Ok(cache) => cached(&*cache, method, args, options).await,
            Err(error) => Err(error),
        },
        "events" => events(&*jarvis.bus(), method, args, options).await,
        "health" => health(jarvis, method, options).await,
        "operator" => operator::call(jarvis, method, args, options).await,
        "web" => web::call(method, args, options),
        other => return Err(format!("there is no part {other}")),
    };
    Ok(ended.unwrap_or_else(Ended::from))
}

async fn sessions(
    store: &dyn SessionStore,
    method: &str,
    args: &[Value],
    options: &Options,
) -> Result<Ended> {
    let id = || SessionId::new(text(&args[0])?);
    let user = |value: &Value| UserId::new(text(value)?);
    answer(match method {
        "create" => json!(store.create(new_session(options)?).await?),
        "load" => json!(store.load(&id()?).await?),
        "save" => return save(store, read(&args[0])?, options.contains_key("force")).await,
        "update" => {
            let deadline = duration(options, "deadline_ms").unwrap_or(UPDATE_DEADLINE);
            if let Some(members) = args[1].get("$assign_async") {
                let change = |mut session: Session| async {
                    tokio::task::yield_now().await;
                    assign(&mut session, members)?;
                    Ok(session)
                };
                json!(store.update_with(&id()?, deadline, change).await?)
            } else {
                let mut change = |session: &mut Session| assign(session, &args[1]["$assign"]);
                json!(store.update(&id()?, deadline, &mut change).await?)
            }
        }
        "save_merged" => {
            let base: Session = read(&args[0])?;
            match store.save_merged(&base, read(&args[1])?).await? {
                Merged::Saved(session) | Merged::Merged(session) => json!(session),
                _ => Value::Null,
            }
        }
        "save_many" => {
            let sessions: Vec<Session> = read(&args[0])?;
            let outcomes = store.save_many(sessions.into_iter().map(Save::new).collect()).await;
            outcomes.into_iter().map(|outcome| saved(outcome).into_json()).collect()
        }
        "load_and_extend" => {
            json!(store.load_and_extend(&id()?, duration(options, "ttl_ms")).await?)
        }
        "scan" => return scan(store, options).await,
        "delete" => json!(store.delete(&SessionRef::Id(id()?)).await?),
        "extend" => {
            json!(store.extend(&SessionRef::Id(id()?), duration(options, "ttl_ms")).await?)
        }
        "regenerate" => {
            let of = options.get("user").map(user).transpose()?;
            json!(store.regenerate(&id()?, of).await?)
        }
        "list" => json!(store.list(&user(&args[0])?).await?),
        "clear" => {
            let except = options.get("except").map(|id| SessionId::new(text(id)?)).transpose()?;
            let except = except.map(SessionRef::Id);
            json!(store.clear(&user(&args[0])?, except.as_ref()).await?)
        }
        "count" => {
            let of = options.get("user").map(user).transpose()?;
            json!(store.count(of.as_ref()).await?)
        }
        "load_many" => json!(store.load_many(&read::<Vec<SessionId>>(&args[0])?).await?),
        "delete_many" => {
            let ids: Vec<SessionId> = read(&args[0])?;
            let refs: Vec<_> = ids.into_iter().map(SessionRef::Id).collect();
            json!(store.delete_many(&refs).await?)
        }
        other => return Err(no_method(other)),
    })
}

fn new_session(options: &Options) -> Result<NewSession> {
    let mut new = NewSession::new();
    if let Some(id) = options.get("id") {
        new = new.with_id(SessionId::new(text(id)?)?);
    }
    if let Some(user) = options.get("user") {
        new = new.with_user(UserId::new(text(user)?)?);
    }
    if let Some(data) = options.get("data") {
        new = new.with_data(SessionData::of(data)?);
    }
    if let Some(ttl) = duration(options, "ttl_ms") {
        new = new.with_ttl(ttl);
    }
    let meta = json!({ "ip": options.get("ip"), "user_agent": options.get("user_agent") });
    Ok(new.with_meta(read::<SessionMeta>(&meta)?))
}

async fn save(store: &dyn SessionStore, session: Session, force: bool) -> Result<Ended> {
    let save = if force { Save::forced(session) } else { Save::new(session) };
    Ok(saved(store.save(save).await))
}

fn saved(outcome: Result<SaveOutcome>) -> Ended {
    match outcome {
        Ok(SaveOutcome::Saved(session)) => Ended::Answer(json!(session)),
        Ok(SaveOutcome::Conflict(current)) => {
            let error = Error::new(ErrorKind::Conflict, "somebody saved the session first");
            Ended::Failed { error, current: Some(current) }
        }
        Ok(other) => {
            Error::new(ErrorKind::NotFound, format!("the session is gone: {other:?}")).into()
        }
        Err(error) => error.into(),
    }
}

/// Pages of 256 unless told, as the bindings have it.
async fn scan(store: &dyn SessionStore, options: &Options) -> Result<Ended> {
    let size = options.get("page_size").map_or(Ok(256), read)?;
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.scan(cursor.as_deref(), size).await?;
        found.extend(page.sessions.into_iter().map(|session| json!(session)));
        cursor = page.next;
        if cursor.is_none() {
            return Ok(Ended::Stream(Stream::Items(found.into())));
        }
    }
}

fn assign(session: &mut Session, members: &Value) -> Result<()> {
    let mut data: Options = session.data.get()?;
    data.extend(read::<Options>(members)?);
    session.data = SessionData::of(&data)?;
    Ok(())
}

async fn cached(
    cache: &dyn Cache,
    method: &str,
    args: &[Value],
    options: &Options,
) -> Result<Ended> {
    let key = || text(&args[0]);
    answer(match method {
        "get" => parsed(cache.get(key()?).await?)?,
        "set" => json!(cache.set(key()?, CacheValue::json(&args[1])?, set(options)?).await?),
        "delete" => json!(cache.delete(&texts(args)?).await?),
        "exists" => json!(cache.exists(key()?).await?),
        "get_many" => {
            let values = cache.get_many(&read::<Vec<String>>(&args[0])?).await?;
            values.into_iter().map(parsed).collect::<Result<Value>>()?
        }
        "set_many" => {
            let entries = read::<Options>(&args[0])?
                .iter()
                .map(|(key, value)| Ok(Entry::new(key, CacheValue::json(value)?)))
                .collect::<Result<Vec<_>>>()?;
            json!(cache.set_many(entries, set(options)?).await?)
        }
        "increment" => {
            let by = options.get("by").and_then(Value::as_i64).unwrap_or(1);
            let lifetime = duration(options, "ttl_ms").map(Lifetime::For);
            json!(cache.increment(key()?, by, lifetime).await?)
        }
        "expire" => {
            let ttl = duration(options, "ttl_ms").ok_or_else(|| no_method("expire without ttl"))?;
            json!(cache.expire(key()?, Lifetime::For(ttl)).await?)
        }
        "lifetime" => match cache.lifetime(key()?).await? {
            None => Value::Null,
            Some(Lifetime::For(rest)) => json!(rest.as_secs_f64()),
            Some(_) => json!(f64::MAX),
        },
        "flush" => json!(cache.flush().await?),
        "invalidate_tag" => json!(cache.invalidate_tag(key()?).await?),
        "invalidate_pattern" => json!(cache.invalidate_pattern(key()?).await?),
        "stats" => json!(cache.stats().await?),
        "get_or_load" => {
            let value = CacheValue::json(&args[1]["$return"])?;
            let load = loader(move || std::future::ready(Ok(value.clone())));
            let load_options = LoadOptions::new().with_set(set(options)?);
            parsed(Some(cache.get_or_load(key()?, load_options, load).await?))?
        }
        other => return Err(no_method(other)),
    })
}

fn set(options: &Options) -> Result<SetOptions> {
    let mut set = SetOptions::new();
    if let Some(ttl) = duration(options, "ttl_ms") {
        set = set.with_ttl(ttl);
    }
    set = set.with_condition(match (flag(options, "if_absent"), flag(options, "if_present")) {
        (true, true) => {
            return Err(Error::new(ErrorKind::InvalidInput, "if_absent or if_present, not both"));
        }
        (true, false) => Condition::IfAbsent,
        (false, true) => Condition::IfPresent,
        (false, false) => Condition::Always,
    });
    for tag in options.get("tags").and_then(Value::as_array).into_iter().flatten() {
        set = set.with_tag(text(tag)?);
    }
    Ok(set)
}

fn parsed(value: Option<CacheValue>) -> Result<Value> {
    value.map_or(Ok(Value::Null), |value| value.parse())
}

async fn events(
    bus: &dyn EventBus,
    method: &str,
    args: &[Value],
    options: &Options,
) -> Result<Ended> {
    match method {
        "publish" => {
            let message = Message::new(TopicName::new(text(&args[0])?)?, args[1].clone())?;
            let sent = bus.publish(Event::Message(message)).await?;
            Ok(Ended::Answer(envelope(&sent)))
        }
        "subscribe" => {
            let list = |name: &str| options.get(name).and_then(Value::as_array).cloned();
            let mut filter = Filter::all();
            for topic in list("topics").into_iter().flatten() {
                filter = filter.with_topic(read(&topic)?);
            }
            for pattern in list("patterns").into_iter().flatten() {
                filter = filter.with_pattern(TopicPattern::new(text(&pattern)?)?);
            }
            Ok(Ended::Stream(Stream::Bus(bus.subscribe(filter).await?)))
        }
        other => Err(no_method(other)),
    }
}

/// An envelope as the bindings show it: the payload of a message beside the rest.
pub(crate) fn envelope(envelope: &Envelope) -> Value {
    let payload = match &envelope.event {
        Event::Message(message) => message.payload(),
        _ => &Value::Null,
    };
    json!({
        "topic": envelope.event.topic(), "payload": payload, "sequence": envelope.sequence,
        "instance": envelope.instance, "at": envelope.at, "event": envelope.event,
    })
}

async fn health(jarvis: &Jarvis, method: &str, options: &Options) -> Result<Ended> {
    match method {
        "check" => {
            let services = options.get("services").and_then(Value::as_array).into_iter().flatten();
            let services: Vec<_> =
                services.map(|it| ServiceId::new(text(it)?)).collect::<Result<_>>()?;
            answer(json!(jarvis.check(&services).await?))
        }
        "watch" => {
            let services = options.get("services").map_or(Ok(Vec::new()), read)?;
            Ok(Ended::Stream(Stream::Watch(Box::new(jarvis.watch(&services)?))))
        }
        "status" => answer(jarvis.attach().await.status().await?),
        other => Err(no_method(other)),
    }
}

pub(crate) fn answer(value: impl Serialize) -> Result<Ended> {
    Ok(Ended::Answer(json!(value)))
}

pub(crate) fn no_method(name: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("the runner has no method {name}"))
}

pub(crate) fn text(value: &Value) -> Result<&str> {
    value.as_str().ok_or_else(|| Error::new(ErrorKind::InvalidInput, format!("no text: {value}")))
}

fn texts(values: &[Value]) -> Result<Vec<String>> {
    values.iter().map(|value| text(value).map(str::to_owned)).collect()
}

pub(crate) fn flag(options: &Options, name: &str) -> bool {
    options.get(name).and_then(Value::as_bool).unwrap_or(false)
}

pub(crate) fn duration(options: &Options, name: &str) -> Option<Duration> {
    options.get(name).and_then(Value::as_u64).map(Duration::from_millis)
}

pub(crate) fn read<T: DeserializeOwned>(value: &Value) -> Result<T> {
    serde_json::from_value(value.clone())
        .map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))
}
