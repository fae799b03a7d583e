//! A file that is watched.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Events, Follower, ms};
use std::{fs, path::Path, time::Duration};
use tokio::time::timeout;
use towpath_discover::Directory;

fn list(addresses: &[&str]) -> String {
    addresses.iter().map(|address| format!("[[endpoints]]\naddress = \"{address}\"\n")).collect()
}

/// Replaces a file in one piece.
fn put(path: &Path, text: impl AsRef<[u8]>) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

fn follow(directory: &Directory, path: &Path) -> Follower {
    Follower::new(directory.watch(format!("file:{}?every_ms=20", path.display())).unwrap())
}

/// Waits for a set.
async fn has(follower: &mut Follower, addresses: &[&str]) {
    let wait = async {
        while follower.addresses() != addresses {
            assert!(follower.batch().await);
        }
    };
    timeout(Duration::from_secs(60), wait).await.expect("it is not noticed");
}

async fn fails(follower: &Follower) -> String {
    let wait = async {
        loop {
            match follower.watch.handle().status().error {
                Some(error) => return error.to_string(),
                None => tokio::time::sleep(ms(5)).await,
            }
        }
    };
    timeout(Duration::from_secs(60), wait).await.expect("it is not noticed")
}

// The clock stands still while the disk is waited for.
#[tokio::test(start_paused = true)]
async fn whichever_way_a_file_is_changed_it_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.toml");
    fs::write(&path, list(&["mcp://a:1"])).unwrap();
    let directory = Directory::new();
    let mut follower = follow(&directory, &path);
    has(&mut follower, &["mcp://a:1"]).await;
    // Written over, as long as before.
    fs::write(&path, list(&["mcp://b:1"])).unwrap();
    has(&mut follower, &["mcp://b:1"]).await;
    // Renamed over.
    let new = folder.path().join("new");
    fs::write(&new, list(&["mcp://b:1", "mcp://c:1"])).unwrap();
    fs::rename(&new, &path).unwrap();
    has(&mut follower, &["mcp://b:1", "mcp://c:1"]).await;
    // A link that leads elsewhere, as in a volume of Kubernetes.
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        fs::create_dir(folder.path().join("v1")).unwrap();
        fs::write(folder.path().join("v1/orders.toml"), list(&["mcp://d:1"])).unwrap();
        fs::remove_file(&path).unwrap();
        symlink(folder.path().join("data/orders.toml"), &path).unwrap();
        symlink("v1", folder.path().join("data")).unwrap();
        has(&mut follower, &["mcp://d:1"]).await;
        fs::create_dir(folder.path().join("v2")).unwrap();
        fs::write(folder.path().join("v2/orders.toml"), list(&["mcp://e:1"])).unwrap();
        symlink("v2", folder.path().join("next")).unwrap();
        fs::rename(folder.path().join("next"), folder.path().join("data")).unwrap();
        has(&mut follower, &["mcp://e:1"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_file_keeps_the_last_good_set_and_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.toml");
    let events = Events::default();
    let directory = Directory::builder().observe(events.observe()).build();
    let mut follower = follow(&directory, &path);
    let error = follower.watch.settled().await.unwrap_err().to_string();
    assert!(error.contains("orders.toml: No such file"), "{error}");
    put(&path, list(&["mcp://a:1"]));
    has(&mut follower, &["mcp://a:1"]).await;
    for (text, says) in [
        ("[[endpoints]]\nadress = \"mcp://b:1\"\n", "unknown field `adress`"),
        ("[[endpoints]]\naddress = \"mcp://b:", "line 2"),
        ("", "missing field `endpoints`"),
    ] {
        put(&path, text);
        let error = fails(&follower).await;
        assert!(error.contains(says) && error.contains("orders.toml"), "{error}");
        assert!(follower.now() && follower.addresses() == ["mcp://a:1"]);
        // It is said once, and looked at as often as before.
        events.take();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(events.take(), [""; 0]);
        put(&path, list(&["mcp://a:1", "mcp://b:1"]));
        has(&mut follower, &["mcp://a:1", "mcp://b:1"]).await;
        put(&path, list(&["mcp://a:1"]));
        has(&mut follower, &["mcp://a:1"]).await;
    }
    fs::remove_file(&path).unwrap();
    assert!(fails(&follower).await.contains("No such file"));
    assert_eq!(follower.addresses(), ["mcp://a:1"]);
}

#[tokio::test(start_paused = true)]
async fn json_is_read_by_the_name_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.json");
    fs::write(&path, r#"{"endpoints": [{"address": "mcp://a:1", "weight": 5}]}"#).unwrap();
    let mut follower = follow(&Directory::new(), &path);
    has(&mut follower, &["mcp://a:1"]).await;
    assert_eq!(follower.at("mcp://a:1").weight(), 5);
}

#[test]
fn what_no_file_can_be() {
    let directory = Directory::new();
    for (url, says) in [
        ("file:orders.toml", "not absolute"),
        ("file:/etc/orders.yaml", ".toml"),
        ("file:/etc/orders.toml?every_ms=1", "every_ms"),
        ("file:/etc/orders.toml?every=1", "no option"),
        ("consul://orders", "none of dns, dns+srv, file, mcp"),
    ] {
        let error = directory.watch(url).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    #[cfg(not(feature = "dns"))]
    {
        let error = directory.watch("dns://orders:80").unwrap_err().to_string();
        assert!(error.contains("feature `dns`"), "{error}");
    }
}
