//! What goes over the connections of clients and servers.

use crate::{hub::Hub, names::*};
use std::sync::{Arc, Mutex, PoisonError};
use towpath_transport::{ConnectionEnd, CutShort, DecodeError, Traffic};

/// Where connections are counted, by side and target. They stay when clients and servers are gone, as counts do.
#[derive(Default)]
pub(crate) struct Traffics(Mutex<Vec<Known>>);

#[derive(Clone)]
struct Known {
    side: Side,
    target: Arc<str>,
    traffic: Traffic,
}

/// Which end of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Side {
    fn as_str(self) -> &'static str {
        match self {
            Side::Client => "client",
            Side::Server => "server",
        }
    }
}

impl Traffics {
    /// The same for all connections of one side and one target.
    pub(crate) fn of(&self, side: Side, target: Arc<str>) -> Traffic {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.iter().find(|known| known.side == side && known.target == target) {
            return known.traffic.clone();
        }
        let traffic = Traffic::new();
        all.push(Known { side, target, traffic: traffic.clone() });
        traffic
    }

    /// Passes on what there is.
    pub(crate) fn refresh(&self, hub: &Hub) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for known in all {
            let (target, side, counts) = (&*known.target, known.side.as_str(), known.traffic.counts());
            if known.side == Side::Client {
                hub.waits.of(&known.target).of_all(counts.messages_out);
            }
            hub.set(&CONNECTIONS, &[target, side], counts.open() as f64);
            hub.count_to(&CONNECTIONS_OPENED, &[target, side], counts.opened);
            let (received, sent) = ([target, side, "receive"], [target, side, "transmit"]);
            hub.count_to(&TRANSPORT_BYTES, &received, counts.bytes_in);
            hub.count_to(&TRANSPORT_BYTES, &sent, counts.bytes_out);
            hub.count_to(&TRANSPORT_FRAMES, &received, counts.frames_in);
            hub.count_to(&TRANSPORT_FRAMES, &sent, counts.frames_out);
            for why in ConnectionEnd::ALL {
                hub.count_to(&CONNECTIONS_CLOSED, &[target, side, why.as_str()], counts.closed(why));
            }
            for why in DecodeError::ALL {
                hub.count_to(&DECODE_ERRORS, &[target, side, why.as_str()], counts.decode_errors(why));
            }
            for why in CutShort::ALL {
                hub.count_to(&CUT_SHORT, &[target, side, why.as_str()], counts.cut_short(why));
            }
        }
    }
}
