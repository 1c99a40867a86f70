//! What the alerter does with the sinks that it is given. The rest is in `tests/tests/alerts`.

use async_trait::async_trait;

use super::*;
use crate::alert::MemoryJournal;
use base::clock::ManualClock;

/// A sink that asks how the deliveries go when it is dropped.
#[derive(Debug)]
struct Parting(Alerter);

#[async_trait]
impl AlertSink for Parting {
    async fn deliver(&self, _: &Alert) -> Result<()> {
        Ok(())
    }
}

impl Drop for Parting {
    fn drop(&mut self) {
        let _ = self.0.stats();
    }
}

#[test]
fn a_sink_may_ask_the_alerter_while_it_is_dropped() {
    let alerter = Alerter::new(Arc::new(ManualClock::new()), Arc::new(MemoryJournal::new()));
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let sink = SinkEntry::new("pager", Arc::new(Parting(alerter.clone())));
        alerter.configure(vec![sink], BTreeMap::new()).unwrap();
        alerter.configure(Vec::new(), BTreeMap::new()).unwrap();
        done.send(()).unwrap();
    });
    ended.recv_timeout(Duration::from_secs(60)).expect("the sink waits for whoever drops it");
}
