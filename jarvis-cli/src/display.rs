//! What `up` and `demo` show while they run: events as they come, on a terminal with a table below.
//!
//! It has a thread of its own. A stopped terminal (Ctrl-S) or a reader that does not read blocks
//! only that thread; the services are still watched.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use jarvis_core::clock::{ClockExt, Monotonic, SharedClock, WallTime};
use jarvis_core::events::{Delivery, Envelope, Filter, Subscription};
use jarvis_core::jarvis::Jarvis;
use jarvis_core::{Error, Result};
use tokio::sync::{mpsc, oneshot};

use crate::logging::LogOutput;
use crate::printer::{Live, Printer, Style, paint};
use crate::text::table::wrap;
use crate::text::time::short_duration;
use crate::text::{event, status};

/// How often the table is redrawn when nothing happens.
const REDRAW: Duration = Duration::from_millis(500);

/// How long the end waits for a terminal that does not take the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How wide the time before an event is.
const TIME: usize = 10;

/// How it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// A line an event, with the date: for journals and files.
    Lines,
    /// A table that is redrawn in place, events above it with the time of day.
    Table,
    /// Events with the time since the start; the table where there is a terminal.
    Story {
        /// Is there one?
        table: bool,
    },
}

impl Look {
    const fn has_table(self) -> bool {
        matches!(self, Self::Table | Self::Story { table: true })
    }
}

/// A running display.
#[derive(Debug)]
pub(crate) struct Display {
    said: mpsc::UnboundedSender<String>,
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
    log: LogOutput,
    clock: SharedClock,
}

impl Display {
    /// Begins to show what happens to `jarvis`. Each event that was shown goes on to `shown`.
    pub(crate) async fn start(
        jarvis: &Jarvis,
        printer: Printer,
        look: Look,
        log: &LogOutput,
        shown: Option<mpsc::UnboundedSender<Arc<Envelope>>>,
    ) -> Result<Self> {
        let (said, to_say) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let clock = jarvis.clock();
        let screen = Screen {
            jarvis: jarvis.clone(),
            events: jarvis.bus().subscribe(Filter::own()).await?,
            began: clock.monotonic(),
            clock: clock.clone(),
            live: None,
            printer,
            look,
            shown,
        };
        if look.has_table() {
            log.divert(said.clone());
        }
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name("display".to_owned())
            .spawn(move || {
                runtime.block_on(screen.show(to_say, stopped));
                let _ = end.send(());
            })
            .map_err(|error| Error::from(error).with_operation("display.start"))?;
        Ok(Self { said, stop, ended, log: log.clone(), clock })
    }

    /// Shows a line of our own, as it is.
    pub(crate) fn say(&self, line: impl Into<String>) {
        let _ = self.said.send(line.into());
    }

    /// Shows what has happened so far and gives the terminal back.
    pub(crate) async fn stop(self) {
        self.log.restore();
        let _ = self.stop.send(());
        drop(self.said);
        let deadline = self.clock.monotonic() + LAST_LINES;
        if self.clock.until(deadline, self.ended).await.is_none() {
            tracing::warn!("the terminal does not take the last lines");
        }
    }
}

struct Screen {
    jarvis: Jarvis,
    events: Box<dyn Subscription>,
    began: Monotonic,
    clock: SharedClock,
    live: Option<Live>,
    printer: Printer,
    look: Look,
    shown: Option<mpsc::UnboundedSender<Arc<Envelope>>>,
}

/// What there is to show.
enum News {
    Said(String),
    Event(Delivery),
    Nothing,
    End,
}

impl Screen {
    async fn show(
        mut self,
        mut said: mpsc::UnboundedReceiver<String>,
        mut stopped: oneshot::Receiver<()>,
    ) {
        if self.look.has_table() {
            self.live = Live::begin().ok();
        }
        loop {
            let first = tokio::select! {
                biased;
                Some(line) = said.recv() => News::Said(line),
                event = self.events.next() => event.map_or(News::End, News::Event),
                _ = &mut stopped => News::End,
                () = self.clock.sleep(REDRAW), if self.live.is_some() => News::Nothing,
            };
            let end = matches!(first, News::End);
            let mut news = vec![first];
            // All that is there already goes into one frame.
            loop {
                let next = tokio::select! {
                    biased;
                    Some(line) = said.recv() => News::Said(line),
                    Some(event) = self.events.next() => News::Event(event),
                    () = std::future::ready(()) => break,
                };
                news.push(next);
            }
            if self.draw(&news).await.is_err() {
                // Nobody reads. The services are still watched.
                self.live = None;
                self.printer = self.printer.muted();
            }
            self.pass_on(news);
            if end {
                return;
            }
        }
    }

    async fn draw(&mut self, news: &[News]) -> std::io::Result<()> {
        if self.live.is_none() {
            return news.iter().try_for_each(|news| self.line(news));
        }
        let mut above = String::new();
        for news in news {
            match news {
                News::Said(_) if self.printer.is_quiet() => {}
                News::Said(line) => {
                    let _ = writeln!(above, "{line}");
                }
                News::Event(delivery) => above.push_str(&self.told(delivery)),
                News::Nothing | News::End => {}
            }
        }
        let block = self.block().await;
        self.live.as_mut().map_or(Ok(()), |live| live.frame(&above, &block))
    }

    /// Without a table.
    fn line(&self, news: &News) -> std::io::Result<()> {
        match news {
            News::Said(_) if self.printer.is_quiet() => Ok(()),
            News::Said(line) if self.printer.is_text() => self.printer.raw(&format!("{line}\n")),
            News::Said(line) => {
                tracing::info!("{line}");
                Ok(())
            }
            News::Event(delivery) if self.look != Look::Lines => {
                self.printer.raw(&self.told(delivery))
            }
            News::Event(Delivery::Event(envelope)) => self.printer.item(&**envelope, event::line),
            News::Event(Delivery::Missed(count)) => {
                tracing::warn!(
                    "{count} events were not shown because they came too fast; `jarvis events` lists them"
                );
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// An event with a short time, broken into lines.
    fn told(&self, delivery: &Delivery) -> String {
        let colored = self.printer.colored();
        let envelope = match delivery {
            Delivery::Event(envelope) => envelope,
            Delivery::Missed(count) => {
                return format!("… {count} events not shown; `jarvis events` lists them …\n");
            }
            _ => return String::new(),
        };
        if !event::is_noteworthy(&envelope.event) {
            return String::new();
        }
        let (text, style) = event::describe(&envelope.event);
        let time = match self.look {
            Look::Story { .. } => {
                let passed = self.clock.monotonic().saturating_since(self.began);
                format!("{:>6.1} s", passed.as_secs_f64())
            }
            _ => time_of_day(envelope.at),
        };
        let text = format!("{:<12}  {text}", event::subject(&envelope.event));
        let columns = Live::size().0.min(120);
        let mut told = format!(
            "{}  ",
            paint(&format!("{time:>width$}", width = TIME - 2), Style::Faint, colored)
        );
        for (index, line) in wrap(&text, columns - TIME, 14).lines().enumerate() {
            if index > 0 {
                told.push_str(&" ".repeat(TIME));
            }
            told.push_str(&paint(line, style, colored));
            told.push('\n');
        }
        told
    }

    async fn block(&self) -> String {
        let (columns, rows) = Live::size();
        let colored = self.printer.colored();
        let answer = self.jarvis.status().await;
        let Some(health) = &answer.health else { return String::new() };
        let passed = self.clock.monotonic().saturating_since(self.began);
        let mut block = format!(
            "\n{}  {}\n",
            status::headline(&answer.platform, colored),
            paint(&format!("· running for {}", short_duration(passed)), Style::Faint, colored)
        );
        if let Some(operator) = &answer.operator {
            block.push_str(&status::holds(operator, colored, Some(columns)));
        }
        // The headline, its empty line, the header, what holds, the count, and a line below.
        let room = rows.saturating_sub(8);
        block.push_str(&status::services(
            health,
            answer.operator.as_ref(),
            colored,
            Some(columns),
            Some(room),
        ));
        block
    }

    fn pass_on(&mut self, news: Vec<News>) {
        let Some(shown) = &self.shown else { return };
        for news in news {
            if let News::Event(Delivery::Event(envelope)) = news {
                let _ = shown.send(envelope);
            }
        }
    }
}

/// The time of day where the person is.
fn time_of_day(at: WallTime) -> String {
    jiff::Timestamp::from_millisecond(at.millis()).map_or_else(
        |_| at.to_string(),
        |at| at.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string(),
    )
}
