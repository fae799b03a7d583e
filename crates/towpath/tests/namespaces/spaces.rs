//! Two network namespaces, with a TUN device in each.

use super::peers::{CLIENT, SERVER};
use std::{path::Path, process::Command};
use tokio_tun::Tun;

pub struct Spaces {
    pub names: [String; 2],
}

/// Runs `ip`; its words if it fails.
fn ip(arguments: &str) -> Result<(), String> {
    let failed = |why: String| format!("`ip {arguments}`: {why}");
    let output =
        Command::new("ip").args(arguments.split(' ')).output().map_err(|why| failed(why.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

impl Spaces {
    /// Makes them; the devices come with them, the client's first.
    pub fn new() -> Result<(Self, [Tun; 2]), String> {
        if !Path::new("/dev/net/tun").exists() {
            return Err("there is no /dev/net/tun".to_owned());
        }
        let pid = std::process::id();
        let spaces = Spaces { names: [format!("towpath-{pid}-a"), format!("towpath-{pid}-b")] };
        let mut ends = Vec::new();
        for (at, (own, other)) in [(CLIENT, SERVER), (SERVER, CLIENT)].into_iter().enumerate() {
            let (space, device) = (&spaces.names[at], format!("tp{}{pid}", ["a", "b"][at]));
            ip(&format!("netns add {space}"))?;
            let made = Tun::builder().name(&device).mtu(1400).build();
            let tun = made.map_err(|why| format!("a TUN device: {why}"))?.pop().ok_or("no TUN device")?;
            // Who holds the device keeps it when it moves.
            ip(&format!("link set {device} netns {space}"))?;
            ip(&format!("-n {space} address add {own} peer {other} dev {device}"))?;
            ip(&format!("-n {space} link set {device} up"))?;
            ip(&format!("netns exec {space} true"))?;
            ends.push(tun);
        }
        let ends = ends.try_into().map_err(|_| "two devices")?;
        Ok((spaces, ends))
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        for space in &self.names {
            // If it was never made, there is nothing to take away.
            let _ = ip(&format!("netns delete {space}"));
        }
    }
}
