//! A server that dies, drains and comes back, on the port that it had.

use std::{io, net::SocketAddr, time::Duration};
use tokio::{net::TcpSocket, sync::oneshot, task::JoinHandle};
use towpath::{Router, ServerConfig, transport::Server};

const BACKLOG: u32 = 1024;

pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    router: Router,
    running: Option<Running>,
    /// The port, while nobody listens on it.
    held: Option<TcpSocket>,
}

struct Running {
    drain: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

fn config() -> ServerConfig {
    ServerConfig {
        keep_alive: Some(Duration::from_secs(2)),
        keep_alive_timeout: Duration::from_secs(1),
        stall_timeout: Duration::from_secs(2),
        drain_timeout: Duration::from_secs(2),
        ..ServerConfig::default()
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Connections of the past linger on the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

impl Replica {
    pub(crate) fn start(router: Router) -> io::Result<Self> {
        let socket = bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = socket.local_addr()?;
        let mut replica = Replica { address, router, running: None, held: Some(socket) };
        replica.revive()?;
        Ok(replica)
    }

    /// Serves again.
    pub(crate) fn revive(&mut self) -> io::Result<()> {
        let Some(held) = self.held.take() else { return Ok(()) };
        let server = Server::from_listener(held.listen(BACKLOG)?, config())?;
        let (drain, drained) = oneshot::channel();
        let serving = server.serve(self.router.clone()).with_graceful_shutdown(async {
            let _ = drained.await;
        });
        self.running = Some(Running { drain, task: tokio::spawn(serving.into_future()) });
        Ok(())
    }

    /// Ends at once; what its handlers were doing stops where it is.
    pub(crate) async fn die(&mut self) -> io::Result<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        running.task.abort();
        // Only then is the port free to be held. The error says that it was aborted.
        let _ = running.task.await;
        self.held = Some(bind(self.address)?);
        Ok(())
    }

    /// Ends in order.
    pub(crate) async fn drain(&mut self) -> io::Result<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        // If nobody listens any more, the task has ended, and says why below.
        let _ = running.drain.send(());
        running.task.await??;
        self.held = Some(bind(self.address)?);
        Ok(())
    }
}
