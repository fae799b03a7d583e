//! Headless Chromium, driven over the WebDriver protocol (<https://www.w3.org/TR/webdriver2/>) by ChromeDriver.

use crate::common::post;
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

/// Long: only what is broken waits for so long.
const LONG: Duration = Duration::from_secs(60);

/// A browser with one tab, and its driver; both end when it is dropped.
pub(crate) struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    _home: tempfile::TempDir,
}

impl Browser {
    /// `None`: there is no Chromium here. The gate installs it.
    pub(crate) async fn start(width: u32, height: u32, dark: bool) -> Option<Self> {
        let home = tempfile::tempdir().unwrap();
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .env("HOME", home.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        // It takes a port of its own choice, so that nobody else takes it in between, and says which.
        let said = BufReader::new(driver.stdout.take().unwrap());
        let (told, mut port) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                let port = line.strip_prefix("ChromeDriver was started successfully on port ");
                if let Some(Ok(port)) = port.map(|port| port.trim_end_matches('.').parse::<u16>()) {
                    let _ = told.send(port);
                }
            }
        });
        let port = timeout(LONG, port.recv()).await.expect("chromedriver does not start");
        let address = SocketAddr::from(([127, 0, 0, 1], port.expect("chromedriver ended")));
        let mut browser = Browser { driver, address, session: String::new(), _home: home };
        let data = browser._home.path().join("data");
        let mut flags = vec![
            "--headless".to_owned(),
            "--no-sandbox".into(),
            "--disable-gpu".into(),
            "--disable-dev-shm-usage".into(),
            "--disable-quic".into(),
            "--no-first-run".into(),
            "--disable-background-networking".into(),
            "--disable-component-update".into(),
            "--disable-sync".into(),
            "--hide-scrollbars".into(),
            format!("--user-data-dir={}", data.display()),
        ];
        if dark {
            flags.push("--blink-settings=preferredColorScheme=0".into());
        }
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": flags},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let made = browser.command("/session", wanted).await;
        browser.session = made["sessionId"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        // A window has a least width; what the page sees has none.
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        browser.cdp("Emulation.setDeviceMetricsOverride", metrics).await;
        Some(browser)
    }

    async fn command(&self, path: &str, body: Value) -> Value {
        let path = if self.session.is_empty() {
            path.to_owned()
        } else {
            format!("/session/{}{path}", self.session)
        };
        let ask = post(self.address, &path, &body.to_string()).header("content-type", "application/json");
        let (status, mut told) = ask.json().await;
        assert_eq!(status, 200, "{path}: {told}");
        told["value"].take()
    }

    pub(crate) async fn cdp(&self, command: &str, params: Value) -> Value {
        self.command("/goog/cdp/execute", json!({"cmd": command, "params": params})).await
    }

    pub(crate) async fn open(&self, url: &str) {
        self.command("/url", json!({"url": url})).await;
    }

    /// What a script returns.
    pub(crate) async fn eval(&self, script: &str) -> Value {
        self.command("/execute/sync", json!({"script": script, "args": []})).await
    }

    /// Waits until a script returns something that is true.
    pub(crate) async fn wait(&self, script: &str) -> Value {
        let begin = Instant::now();
        loop {
            let value = self.eval(script).await;
            if !matches!(value, Value::Null | Value::Bool(false)) && value != json!("") && value != json!(0) {
                return value;
            }
            if begin.elapsed() >= LONG {
                panic!("in vain: {script}\n{}", self.eval("return document.body.innerText").await);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Clicks as a person does: where it is covered, the click goes elsewhere and this fails.
    pub(crate) async fn click(&self, css: &str) {
        // The page is made anew each second; between finding and clicking it may be gone.
        for _ in 0..20 {
            let found = self.command("/element", json!({"using": "css selector", "value": css})).await;
            let id = found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
            let path = format!("/session/{}/element/{id}/click", self.session);
            let ask = post(self.address, &path, "{}").header("content-type", "application/json");
            let (status, told) = ask.json().await;
            if status == 200 {
                return;
            }
            assert_eq!(told["value"]["error"], json!("stale element reference"), "{told}");
        }
        panic!("{css} cannot be clicked");
    }

    pub(crate) async fn type_into(&self, css: &str, text: &str) {
        let found = self.command("/element", json!({"using": "css selector", "value": css})).await;
        let id = found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        self.command(&format!("/element/{id}/value"), json!({"text": text})).await;
    }

    /// What the page has complained of: errors of scripts, what the policy forbids, what was not found.
    pub(crate) async fn complaints(&self) -> Vec<Value> {
        let log = self.command("/se/log", json!({"type": "browser"})).await;
        let all = log.as_array().cloned().unwrap_or_default();
        all.into_iter().filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING").collect()
    }

    /// How much wider the page is than the window.
    pub(crate) async fn overflow(&self) -> i64 {
        let script = "return document.documentElement.scrollWidth - window.innerWidth";
        self.eval(script).await.as_i64().unwrap()
    }

    /// The page as a picture: all of it, or down to a height.
    pub(crate) async fn picture(&self, path: &Path, width: u32, height: Option<u32>) {
        use std::io::Write;
        let mut params = json!({"format": "png", "captureBeyondViewport": true});
        if let Some(height) = height {
            params["clip"] = json!({"x": 0, "y": 0, "width": width, "height": height, "scale": 1});
        }
        let told = self.cdp("Page.captureScreenshot", params).await;
        let data = told["data"].as_str().unwrap();
        std::fs::File::create(path).unwrap().write_all(&base64(data)).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its end ends the browser as well, if the session is; a killed one would stay.
        if !self.session.is_empty() {
            use std::io::{Read, Write};
            if let Ok(mut stream) = std::net::TcpStream::connect(self.address) {
                let head = format!(
                    "DELETE /session/{} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
                    self.session, self.address
                );
                let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
                let _ = stream.write_all(head.as_bytes());
                let _ = stream.read(&mut [0; 1024]);
            }
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn base64(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => u32::from(c - b'A'),
        b'a'..=b'z' => u32::from(c - b'a') + 26,
        b'0'..=b'9' => u32::from(c - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut bytes = Vec::new();
    for four in text.as_bytes().chunks(4) {
        let kept = four.iter().filter(|c| **c != b'=').count();
        let bits = four.iter().take(kept).fold(0, |bits, c| bits << 6 | value(*c)) << (6 * (4 - kept));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..kept]);
    }
    bytes
}
