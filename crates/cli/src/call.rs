//! `towpath call`

use crate::{args::CallArgs, body, exit::Failure};
use bytes::Bytes;
use std::{
    io::{Write, stdout},
    time::Duration,
};
use tokio::time::{Instant, timeout_at};
use towpath::{Client, CodecId, Fault, Response};

/// How long a connect may take, where the deadline leaves as much.
const CONNECT: Duration = Duration::from_secs(5);

pub(crate) async fn run(args: CallArgs) -> Result<(), Failure> {
    let body = body::read(args.body, args.codec)?;
    let deadline = Instant::now() + args.timeout;
    let address = args.address.to_string();
    let client = Client::builder().connect_timeout(CONNECT.min(args.timeout)).connect(&address).await?;

    let mut call = client.request(args.method).encoded(args.codec.id(), body);
    for (key, value) in args.headers {
        call = call.meta(key, value);
    }
    let left = deadline.saturating_duration_since(Instant::now());
    let call = call.timeout(left);
    if args.one_way {
        call.send_one_way().await?;
        // Written is not read: the process must not end, and reset the connection, before the peer has it.
        let _ = timeout_at(deadline, client.ping()).await;
        return Ok(());
    }
    let response = if args.asynchronous {
        call.send_async::<Bytes>().await?.into_response().await?
    } else {
        call.send_raw().await?
    };
    show(&response)
}

/// The result on stdout, or the fault, as it came.
fn show(response: &Response) -> Result<(), Failure> {
    if response.is_fault() {
        return Err(match Fault::from_response(response) {
            Ok(_) if response.codec() == CodecId::JSON => Failure::Fault(response.body().to_vec()),
            Ok(fault) => Failure::Fault(fault.to_json().to_vec()),
            Err(why) => {
                Failure::Other(format!("the service answered with a fault that cannot be read: {why}"))
            }
        });
    }
    let mut out = stdout().lock();
    let written = out.write_all(response.body()).and_then(|()| {
        if response.codec() == CodecId::JSON {
            out.write_all(b"\n")?;
        }
        out.flush()
    });
    written.map_err(|error| Failure::Other(format!("the result cannot be written: {error}")))
}
