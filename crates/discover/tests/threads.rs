//! Many callers on more than one thread.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::full;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{sync::Semaphore, time::timeout};
use towpath_core::BoxError;
use towpath_discover::{Directory, Source, Sources, Update};

/// A source that answers when it is let.
struct Gated {
    asked: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl Source for Gated {
    fn about(&self) -> String {
        "gated".into()
    }

    async fn next(&mut self) -> Result<Option<Update>, BoxError> {
        self.asked.fetch_add(1, SeqCst);
        let permit = self.gate.acquire().await?;
        permit.forget();
        Ok(Some(full(&["a"])))
    }
}

/// Pitfall 22, on threads: the look-up is slower than all 64 callers are in coming.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_first_callers_on_two_threads() {
    for _ in 0..50 {
        let (asked, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let sources = {
            let (asked, gate) = (asked.clone(), gate.clone());
            Sources::none().with("gated", move |_| {
                Ok(towpath_discover::BoxSource::new(Gated { asked: asked.clone(), gate: gate.clone() }))
            })
        };
        let directory = Directory::builder().sources(sources).build();
        let came = Arc::new(Semaphore::new(0));
        let callers: Vec<_> = (0..64)
            .map(|_| {
                let (directory, came) = (directory.clone(), came.clone());
                tokio::spawn(async move {
                    let watch = directory.watch("gated:orders").unwrap();
                    came.add_permits(1);
                    watch.settled().await.unwrap().endpoints().len()
                })
            })
            .collect();
        // All have their watch, and most of them wait.
        let _ = came.acquire_many(64).await.unwrap();
        gate.add_permits(1);
        for caller in callers {
            let found = timeout(Duration::from_secs(60), caller).await.expect("it hangs").unwrap();
            assert_eq!(found, 1);
        }
        // The first answer, and the wait for the next: never a second look-up beside the first.
        assert!(asked.load(SeqCst) <= 2, "{asked:?}");
    }
}
