//! Who answers: with what was sent, in the read loop.

use super::{LARGE, incoming::Incoming, outgoing::Outgoing};
use std::{future::poll_fn, io};
use tokio::net::{TcpListener, TcpStream};

/// Echoes on every connection, until it is dropped.
///
/// # Errors
/// If no connection can be accepted any more.
pub async fn serve(listener: TcpListener) -> io::Result<()> {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        connections.spawn(echo(stream));
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let (mut incoming, mut outgoing) = (Incoming::default(), Outgoing::default());
    while poll_fn(|cx| incoming.poll_read(&mut stream, cx)).await? > 0 {
        while let Some(frame) = incoming.next()? {
            if frame.len < LARGE {
                // An answer looks like its question.
                incoming.copy(frame, &mut outgoing.open);
            } else {
                outgoing.push(frame.id, &incoming.take(frame));
            }
        }
        poll_fn(|cx| outgoing.poll_write(&mut stream, cx)).await?;
    }
    Ok(())
}
