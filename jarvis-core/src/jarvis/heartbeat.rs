//! The dead-man ping of the configuration in force, through reloads.

use std::future::Future;
use std::pin::pin;

use futures_util::future::select;

use super::Jarvis;
use supervision::alert::Heartbeat;

/// Pings after each round, as the configuration says at that time, until told otherwise. A reload
/// that leaves `[heartbeat]` as it is leaves its rhythm too.
pub(super) async fn keep(jarvis: Jarvis, until: impl Future<Output = ()> + Send) {
    let beating = async {
        let mut reloads = jarvis.inner.reloads.subscribe();
        loop {
            reloads.borrow_and_update();
            let heartbeat = in_force(&jarvis);
            let replaced = async {
                while reloads.changed().await.is_ok() {
                    if !same(heartbeat.as_ref(), in_force(&jarvis).as_ref()) {
                        return;
                    }
                }
            };
            match &heartbeat {
                Some(heartbeat) => {
                    select(pin!(beat(&jarvis, heartbeat)), pin!(replaced)).await;
                }
                None => replaced.await,
            }
        }
    };
    select(pin!(beating), pin!(until)).await;
}

fn in_force(jarvis: &Jarvis) -> Option<Heartbeat> {
    jarvis.current().wiring.heartbeat.clone()
}

fn same(one: Option<&Heartbeat>, other: Option<&Heartbeat>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.is_like(other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

async fn beat(jarvis: &Jarvis, heartbeat: &Heartbeat) {
    let mut rounds = jarvis.health().rounds();
    let counting = async {
        while rounds.next().await.is_some() {
            heartbeat.round_done();
        }
    };
    select(pin!(heartbeat.run(std::future::pending())), pin!(counting)).await;
}
