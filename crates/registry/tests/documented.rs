//! The conversation in docs/registry.md is what a registry says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::Value;
use std::{collections::HashMap, fs, time::Duration};
use tokio::time::sleep;
use tower::ServiceExt;
use towpath_core::{CodecId, Fault, Request};
use towpath_registry::Registry;

/// Values that are made up, by the word that stands for them.
#[derive(Default)]
struct Words(HashMap<String, String>);

impl Words {
    /// Puts in what the words stand for.
    fn fill(&self, value: &mut Value) {
        match value {
            Value::String(text) if text.starts_with('$') => *text = self.0[text.as_str()].clone(),
            Value::Array(values) => values.iter_mut().for_each(|value| self.fill(value)),
            Value::Object(members) => members.values_mut().for_each(|value| self.fill(value)),
            _ => {}
        }
    }

    /// What words that come for the first time stand for.
    fn learn(&mut self, written: &Value, said: &Value) {
        for (name, value) in written.as_object().unwrap() {
            if let (Value::String(word), Value::String(text)) = (value, &said[name])
                && word.starts_with('$')
            {
                self.0.entry(word.clone()).or_insert_with(|| text.clone());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_conversation_takes_place_as_it_is_written() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/registry.md");
    let page = fs::read_to_string(page).unwrap();
    let conversation = page.split("```conversation\n").nth(1).unwrap().split("```").next().unwrap();
    let registry = Registry::new();
    sleep(Duration::from_secs(20)).await;
    let (mut words, mut answer, mut answers) = (Words::default(), None, 0);
    for line in conversation.lines().filter(|line| !line.is_empty()) {
        if let Some(call) = line.strip_prefix("> ") {
            let (method, body) = call.split_once(' ').unwrap();
            let mut body: Value = serde_json::from_str(body).unwrap();
            words.fill(&mut body);
            let mut request = Request::new(method.to_owned(), body.to_string().into());
            request.set_codec(CodecId::JSON);
            answer = Some(registry.router().oneshot(request).await.unwrap());
        } else if let Some(code) = line.strip_prefix("<! ") {
            let fault = Fault::from_response(&answer.take().unwrap()).unwrap();
            assert_eq!(fault.code(), code, "{line}");
            answers += 1;
        } else {
            let mut written: Value = serde_json::from_str(line.strip_prefix("< ").unwrap()).unwrap();
            let said: Value = serde_json::from_slice(answer.take().unwrap().body()).unwrap();
            words.learn(&written, &said);
            words.fill(&mut written);
            assert_eq!(said, written, "{line}");
            answers += 1;
        }
    }
    assert_eq!(answers, 10);
}
