//! The two processes of a measurement.

use super::{
    Place,
    plan::{Cell, Who},
};
#[cfg(feature = "peers")]
use crate::contenders::{Axum, Tarpc, Tonic};
use crate::{
    Failure,
    contenders::{Armoured, Bare, Caller, Contender, Facade, Reference},
    meter::{Measured, Meter},
};
use bytes::Bytes;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use std::{io::Read, net::SocketAddr};
use tokio::{net::TcpListener, runtime::Builder, task::JoinSet};

/// What the client is to do.
pub(super) struct Load {
    pub(super) address: SocketAddr,
    pub(super) server: u32,
    pub(super) cell: Cell,
    pub(super) seconds: f64,
    pub(super) warm_up: f64,
}

/// Prints where it listens, and serves until its stdin ends: when the runner is gone, so is the server.
pub(super) fn serve(place: &Place) -> Result<(), Failure> {
    match place.who {
        Who::Reference => serve_as::<Reference>(place),
        Who::Bare => serve_as::<Bare>(place),
        Who::Facade => serve_as::<Facade>(place),
        Who::Armoured => serve_as::<Armoured>(place),
        #[cfg(feature = "peers")]
        Who::BareMimalloc => serve_as::<Bare>(place),
        #[cfg(feature = "peers")]
        Who::Tonic => serve_as::<Tonic>(place),
        #[cfg(feature = "peers")]
        Who::Tarpc => serve_as::<Tarpc>(place),
        #[cfg(feature = "peers")]
        Who::Axum => serve_as::<Axum>(place),
    }
}

/// Prints one line of JSON, a [`Figures`](super::report::Figures).
pub(super) fn call(place: &Place, load: Load) -> Result<(), Failure> {
    match place.who {
        Who::Reference => call_as::<Reference>(place, load),
        Who::Bare => call_as::<Bare>(place, load),
        Who::Facade => call_as::<Facade>(place, load),
        Who::Armoured => call_as::<Armoured>(place, load),
        #[cfg(feature = "peers")]
        Who::BareMimalloc => call_as::<Bare>(place, load),
        #[cfg(feature = "peers")]
        Who::Tonic => call_as::<Tonic>(place, load),
        #[cfg(feature = "peers")]
        Who::Tarpc => call_as::<Tarpc>(place, load),
        #[cfg(feature = "peers")]
        Who::Axum => call_as::<Axum>(place, load),
    }
}

fn serve_as<C: Contender>(place: &Place) -> Result<(), Failure> {
    block_on(place, async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let runner = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        tokio::select! {
            served = C::serve(listener) => served,
            _ = runner => Ok(()),
        }
    })
}

fn call_as<C: Contender + 'static>(place: &Place, load: Load) -> Result<(), Failure> {
    let measured = block_on(place, drive::<C>(load))?;
    println!("{}", serde_json::to_string(&super::report::Figures::from(measured))?);
    Ok(())
}

/// A closed loop: each caller calls again as soon as it is answered.
async fn drive<C: Contender>(load: Load) -> Result<Measured, Failure> {
    let Load { address, server, cell, seconds, warm_up } = load;
    // Shared, so that a clone costs a reference count and no more.
    let body = Bytes::from(vec![7u8; cell.body]).clone();
    let meter = Meter::default();
    let mut callers = JoinSet::new();
    for mut caller in C::connect(address, cell.inflight).await? {
        let (body, meter) = (body.clone(), meter.clone());
        callers.spawn(async move {
            let mut lap = meter.lap();
            while !meter.is_over() {
                if caller.call(body.clone()).await? != body.len() {
                    return Err(Failure::from("the echo is not what was sent"));
                }
                lap.record();
            }
            Ok(())
        });
    }
    let measured = meter.measure(warm_up, seconds, Some(server)).await;
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(measured)
}

/// Where it was told to run. The runtime's threads inherit the processor.
fn block_on<T: Send + 'static>(
    place: &Place,
    task: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Failure> {
    if let Some(cpu) = place.cpu {
        let mut cpus = CpuSet::new();
        cpus.set(cpu)?;
        sched_setaffinity(Pid::from_raw(0), &cpus)?;
    }
    let runtime = match place.multi_thread {
        true => Builder::new_multi_thread().enable_all().build()?,
        false => Builder::new_current_thread().enable_all().build()?,
    };
    // Spawned, so that on a multi-thread runtime nothing runs on a thread that is none of its workers.
    let done = runtime.block_on(async { tokio::spawn(task).await })?;
    // The thread that waits for the end of stdin may wait on.
    runtime.shutdown_background();
    done
}
