//! Reads what is written to the wire, and knows what must not be.

use super::ledger::Ledger;
use std::collections::{BTreeMap, HashMap};
use towpath::codec::{FrameHeader, HEADER_LEN, decode_goaway, id, kind};
use towpath_testing::net::{End, Event, WireId};

/// Looks at every connection from the middle.
pub struct Monitor {
    ledger: Ledger,
    wires: HashMap<WireId, Wire>,
    pub requests: u64,
}

#[derive(Default)]
struct Wire {
    written: [Vec<u8>; 2],
    calls: HashMap<u64, Call>,
    last_id: u64,
    /// The lowest that a GOAWAY of the callee has named.
    processed_up_to: Option<u64>,
}

struct Call {
    /// Its number in the ledger.
    number: usize,
    flags: u8,
    acked: bool,
    answered: bool,
    cancelled: bool,
}

impl Monitor {
    pub fn new(ledger: Ledger) -> Self {
        Monitor { ledger, wires: HashMap::new(), requests: 0 }
    }

    pub fn hear(&mut self, event: Event<'_>) {
        match event {
            Event::Open { wire, from, to } => {
                self.ledger.note(|| format!("wire {} from {from} to {to}", wire.0));
            }
            Event::Wrote { wire, end, bytes } => {
                self.ledger.note(|| {
                    format!("wire {} {end:?} writes {} bytes {:x}", wire.0, bytes.len(), sum(bytes))
                });
                self.written(wire, end, bytes);
            }
            Event::Read { wire, end, bytes } => {
                self.ledger
                    .note(|| format!("wire {} {end:?} reads {} bytes {:x}", wire.0, bytes.len(), sum(bytes)));
            }
            other => self.ledger.note(|| format!("{other:?}")),
        }
    }

    fn written(&mut self, id: WireId, end: End, bytes: &[u8]) {
        let wire = self.wires.entry(id).or_default();
        let mut stream = std::mem::take(&mut wire.written[end as usize]);
        stream.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(raw) = stream.get(at..at + HEADER_LEN) {
            let raw: &[u8; HEADER_LEN] = raw.try_into().unwrap();
            let header = match FrameHeader::parse(raw, u32::MAX) {
                Ok(header) => header,
                Err(error) => {
                    self.ledger.violation(format!("wire {}: {end:?} writes no frame: {error}", id.0));
                    return;
                }
            };
            let from = at + HEADER_LEN;
            let Some(payload) = stream.get(from..from + header.len as usize) else { break };
            let outcome = match end {
                End::Near => wire.caller_wrote(header.kind, payload, &self.ledger, &mut self.requests),
                End::Far => wire.callee_wrote(header.kind, payload),
            };
            if let Err(what) = outcome {
                self.ledger.violation(format!("wire {}: {what}", id.0));
            }
            at = from + header.len as usize;
        }
        stream.drain(..at);
        wire.written[end as usize] = stream;
    }

    /// When all is over: what a GOAWAY has disowned was not begun. A call may have gone on to another
    /// connection then; it was begun on as many as have not disowned it, at most.
    pub fn audit(&self) {
        let mut owned: BTreeMap<usize, (u32, Vec<u64>)> = BTreeMap::new();
        for (id, wire) in &self.wires {
            for (call_id, call) in &wire.calls {
                let (count, wires) = owned.entry(call.number).or_default();
                *count += u32::from(wire.processed_up_to.is_none_or(|up_to| *call_id <= up_to));
                wires.push(id.0);
            }
        }
        for (number, (count, wires)) in owned {
            let began = self.ledger.lock().records[number].began;
            if began > count {
                self.ledger.violation(format!(
                    "call {number} went over the connections {wires:?} and was begun {began} times; all but {count} \
                     of them have said that they did not process it"
                ));
            }
        }
    }
}

impl Wire {
    fn caller_wrote(
        &mut self,
        frame: u8,
        payload: &[u8],
        ledger: &Ledger,
        requests: &mut u64,
    ) -> Result<(), String> {
        match frame {
            kind::REQUEST => {
                let call_id = id(payload).ok_or("REQUEST without an id")?;
                if call_id <= self.last_id {
                    return Err(format!("REQUEST {call_id} after {}", self.last_id));
                }
                self.last_id = call_id;
                *requests += 1;
                let method = usize::from(u16::from_be_bytes(payload[14..16].try_into().unwrap()));
                let metadata = u32::from_be_bytes(payload[16..20].try_into().unwrap()) as usize;
                let body = &payload[20 + method + metadata..];
                let number = u64::from_be_bytes(body[..8].try_into().unwrap()) as usize;
                let call =
                    Call { number, flags: payload[13], acked: false, answered: false, cancelled: false };
                self.calls.insert(call_id, call);
                ledger.written(number);
                Ok(())
            }
            kind::CANCEL => {
                let call_id = id(payload).ok_or("CANCEL without an id")?;
                let call = self.calls.get_mut(&call_id).ok_or("CANCEL of a call that was never made")?;
                if std::mem::replace(&mut call.cancelled, true) {
                    return Err(format!("{call_id} is cancelled twice"));
                }
                Ok(())
            }
            kind::PING | kind::PONG | kind::GOAWAY | kind::SETTINGS => Ok(()),
            other => Err(format!("{} from a caller", kind::name(other))),
        }
    }

    fn callee_wrote(&mut self, frame: u8, payload: &[u8]) -> Result<(), String> {
        match frame {
            kind::RESPONSE | kind::PUSH | kind::ACK => {
                let call_id = id(payload).ok_or("an answer without an id")?;
                let call = self.calls.get_mut(&call_id).ok_or("an answer to nobody")?;
                let is_async = call.flags & 2 != 0;
                let fits = match frame {
                    kind::RESPONSE => !call.acked && call.flags & 1 == 0,
                    kind::ACK => is_async && !call.acked,
                    _ => is_async && call.acked,
                };
                if !fits {
                    let flags = call.flags;
                    return Err(format!(
                        "{} for {call_id}, whose flags are {flags}, acknowledged: {}",
                        kind::name(frame),
                        call.acked
                    ));
                }
                if call.answered {
                    return Err(format!("{} for {call_id}, which was answered before", kind::name(frame)));
                }
                call.acked |= frame == kind::ACK;
                call.answered |= frame != kind::ACK;
                Ok(())
            }
            kind::GOAWAY => {
                let goaway = decode_goaway(payload).map_err(|error| error.to_string())?;
                let up_to = self.processed_up_to.map_or(goaway.last_id, |before| before.min(goaway.last_id));
                self.processed_up_to = Some(up_to);
                Ok(())
            }
            kind::PING | kind::PONG | kind::SETTINGS => Ok(()),
            other => Err(format!("{} from a callee", kind::name(other))),
        }
    }
}

/// For the trace: two courses that differ in a byte differ there.
fn sum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
