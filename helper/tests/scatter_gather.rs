//! The root between a client and leaves that answer, hang, break off and talk without end, under names that come and go.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::support::Helper;

mod hostile;
mod leaf;
mod life;
mod limits;
mod merging;
mod name_server;
mod names;
mod passing_on;
mod trouble;
mod wire;

use leaf::Leaves;
use name_server::NameServer;

/// A root that runs, and its client.
#[derive(Debug)]
struct Root {
    helper: Helper,
    url: String,
    client: reqwest::Client,
}

impl Root {
    /// Of these leaves, by their addresses.
    async fn of(leaves: &Leaves, options: &[&str]) -> Self {
        Self::start(&["--leaf", &leaves.list()], options).await
    }

    async fn start(who: &[&str], options: &[&str]) -> Self {
        let job = ["scatter-gather", "--listen", "127.0.0.1:0"];
        Self::serving(Helper::start(&[&job, who, options].concat())).await
    }

    /// Of the leaves that have this name, on the port of these.
    async fn named(
        name: &str,
        leaves: &Leaves,
        name_server: &NameServer,
        options: &[&str],
    ) -> Self {
        let service = format!("{name}:{}", leaves.port);
        let who = ["--leaf", service.as_str()];
        Self::resolving(name_server, &[&who, options].concat()).await
    }

    async fn resolving(name_server: &NameServer, options: &[&str]) -> Self {
        let job = ["scatter-gather", "--listen", "127.0.0.1:0"];
        let arguments = [&job, options].concat();
        Self::serving(Helper::start_resolving(
            name_server.resolv_conf(),
            &arguments,
        ))
        .await
    }

    async fn serving(helper: Helper) -> Self {
        let client = reqwest::Client::builder().no_proxy().build();
        Self {
            url: helper.api().await,
            helper,
            client: client.expect("a client"),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(self.client.get(format!("{}{path}", self.url)))
            .await
    }

    async fn post(&self, body: impl Into<reqwest::Body>) -> Answer {
        self.ask(self.client.post(format!("{}/", self.url)).body(body))
            .await
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Answer {
        let begin = Instant::now();
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.text().await.expect("a body");
        Answer {
            status,
            headers,
            body,
            took: begin.elapsed(),
        }
    }
}

/// What the client got.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
    took: Duration,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().expect("a text"))
    }

    /// `3/4`
    fn leaves(&self) -> &str {
        self.header("x-leaves")
    }

    /// Reasons, by leaf.
    fn missing(&self) -> BTreeMap<String, String> {
        let header = self.header("x-leaves-missing");
        let entries = header.split(", ").filter(|entry| !entry.is_empty());
        entries
            .map(|entry| entry.split_once(' ').expect("a leaf and a reason"))
            .map(|(leaf, reason)| (leaf.to_owned(), reason.to_owned()))
            .collect()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The merged answer of these leaves when all reply as usual.
fn usual(numbers: &[u8]) -> Value {
    let shards = numbers
        .iter()
        .map(|number| (format!("s{number}"), json!(number)));
    json!({
        "total": numbers.iter().sum::<u8>(),
        "hits": numbers.iter().map(|number| json!({"doc": format!("d{number}"), "score": number})).collect::<Vec<_>>(),
        "shards": shards.collect::<serde_json::Map<_, _>>(),
        "from": format!("leaf {}", numbers[0]),
    })
}
