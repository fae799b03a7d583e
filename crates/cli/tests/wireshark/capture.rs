//! Connections that are written down on their way, and capture files made of them.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// Bytes that one side of a connection sent.
#[derive(Clone)]
pub(crate) struct Chunk {
    /// Counts connections, from 0.
    pub(crate) connection: u16,
    pub(crate) by_caller: bool,
    /// Since the relay began.
    pub(crate) at: Duration,
    pub(crate) bytes: Vec<u8>,
}

/// Passes connections on, and notes what goes through before the other side has it, so that no answer stands
/// before its question.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    chunks: Arc<Mutex<Vec<Chunk>>>,
}

impl Relay {
    pub(crate) async fn start(to: SocketAddr) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let chunks = Arc::new(Mutex::new(Vec::new()));
        let noted = chunks.clone();
        let begin = Instant::now();
        tokio::spawn(async move {
            for connection in 0.. {
                let (caller, _) = listener.accept().await.unwrap();
                let (from_caller, to_caller) = caller.into_split();
                // A client that was told to go comes back, and finds nobody.
                let Ok(callee) = TcpStream::connect(to).await else { continue };
                let (from_callee, to_callee) = callee.into_split();
                for (by_caller, from, to) in [(true, from_caller, to_callee), (false, from_callee, to_caller)]
                {
                    let noted = noted.clone();
                    let note = move |bytes: &[u8]| {
                        let bytes = bytes.to_vec();
                        let mut noted = noted.lock().unwrap();
                        noted.push(Chunk { connection, by_caller, at: begin.elapsed(), bytes });
                    };
                    tokio::spawn(pass_on(from, to, note));
                }
            }
        });
        Relay { address, chunks }
    }

    pub(crate) fn chunks(&self) -> Vec<Chunk> {
        self.chunks.lock().unwrap().clone()
    }
}

async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, note: impl Fn(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match from.read(&mut buffer).await? {
            0 => return to.shutdown().await,
            read => {
                note(&buffer[..read]);
                to.write_all(&buffer[..read]).await?;
            }
        }
    }
}

/// The same bytes in pieces of at most so many.
pub(crate) fn split(chunks: &[Chunk], most: usize) -> Vec<Chunk> {
    let pieces = |chunk: &Chunk| {
        let chunk = chunk.clone();
        let bytes = chunk.bytes.clone();
        let list: Vec<_> =
            bytes.chunks(most).map(|piece| Chunk { bytes: piece.to_vec(), ..chunk.clone() }).collect();
        list
    };
    chunks.iter().flat_map(pieces).collect()
}

/// The same bytes in one piece for each side of each connection.
pub(crate) fn join(chunks: &[Chunk]) -> Vec<Chunk> {
    let mut joined: Vec<Chunk> = Vec::new();
    for chunk in chunks {
        let same =
            |other: &&mut Chunk| (other.connection, other.by_caller) == (chunk.connection, chunk.by_caller);
        match joined.iter_mut().find(same) {
            Some(whole) => whole.bytes.extend_from_slice(&chunk.bytes),
            None => joined.push(chunk.clone()),
        }
    }
    // Calls before their answers: the caller's side was there first.
    joined
}

/// The port of all callees in the capture.
const CALLEE: u16 = 9377;

/// A capture file (pcap, raw IP) with a TCP segment for each chunk, after a handshake.
pub(crate) fn pcap(chunks: &[Chunk]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 0x0004_0000, 101u32] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    let mut next: Vec<[u32; 2]> = Vec::new();
    for chunk in chunks {
        let connection = usize::from(chunk.connection);
        while next.len() <= connection {
            let caller = next.len() as u16;
            segment(&mut file, chunk.at, caller, true, [0, 0], SYN, b"");
            segment(&mut file, chunk.at, caller, false, [0, 1], SYN | ACK, b"");
            segment(&mut file, chunk.at, caller, true, [1, 1], ACK, b"");
            next.push([1, 1]);
        }
        let [caller, callee] = next[connection];
        let (own, other) = if chunk.by_caller { (caller, callee) } else { (callee, caller) };
        segment(
            &mut file,
            chunk.at,
            chunk.connection,
            chunk.by_caller,
            [own, other],
            PSH | ACK,
            &chunk.bytes,
        );
        next[connection][usize::from(!chunk.by_caller)] += chunk.bytes.len() as u32;
    }
    file
}

const SYN: u8 = 0x02;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

fn segment(
    file: &mut Vec<u8>,
    at: Duration,
    connection: u16,
    by_caller: bool,
    [sequence, acknowledged]: [u32; 2],
    flags: u8,
    data: &[u8],
) {
    let mut ends = [([127, 0, 0, 1], 40_000 + connection), ([127, 0, 0, 2], CALLEE)];
    if !by_caller {
        ends.reverse();
    }
    let [from, to] = ends;

    let mut tcp = Vec::new();
    tcp.extend_from_slice(&from.1.to_be_bytes());
    tcp.extend_from_slice(&to.1.to_be_bytes());
    tcp.extend_from_slice(&sequence.to_be_bytes());
    let acknowledged = if flags & ACK == 0 { 0 } else { acknowledged };
    tcp.extend_from_slice(&acknowledged.to_be_bytes());
    // 5 words of header, the flags, the window, no checksum yet, nothing urgent.
    tcp.extend_from_slice(&[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend_from_slice(data);
    let mut pseudo = [&from.0[..], &to.0, &[0, 6]].concat();
    pseudo.extend_from_slice(&(tcp.len() as u16).to_be_bytes());
    let sum = checksum(&[&pseudo, &tcp]);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());

    let length = 20 + tcp.len() as u16;
    let mut ip = vec![0x45, 0];
    ip.extend_from_slice(&length.to_be_bytes());
    // No identification, not to be fragmented, 64 hops, TCP, no checksum yet.
    ip.extend_from_slice(&[0, 0, 0x40, 0, 64, 6, 0, 0]);
    ip.extend_from_slice(&from.0);
    ip.extend_from_slice(&to.0);
    let sum = checksum(&[&ip]);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());

    for word in [at.as_secs() as u32, at.subsec_micros(), length.into(), length.into()] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.extend_from_slice(&ip);
    file.extend_from_slice(&tcp);
}

/// The Internet's: the complement of the sum of all 16-bit words.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        for word in part.chunks(2) {
            sum += u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
