//! Helpers that stand before a port of the app: whom a Service reaches by the port's name, and whom by its number.

use std::process::Stdio;

use kube::api::GetParams;
use kube::core::Request;
use kube::{Client, Config};
use outrigger_e2e::{Cluster, Space, calm, outrigger, pattern, pod, sidecars, until};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// A helper that stands before the app's port and marks what it lets through with its name. The mark goes right behind the
/// request's first line, so that of several the innermost's comes first.
fn marker(name: &str, rank: u32) -> Value {
    let mut marker = pattern(name);
    marker["spec"]["rank"] = rank.into();
    marker["spec"]["ports"] = json!({"listen": "auto"});
    marker["spec"]["interpose"] = json!({"port": "http"});
    let container = &mut marker["spec"]["containers"][0];
    container["ports"] = json!([{"containerPort": "{{ ports.listen }}"}]);
    let relay = "(IFS= read -r line; printf '%s\\nX-Passed: {{ instance.name }}\\r\\n' \"$line\"; exec cat) \
                 | nc 127.0.0.1 {{ upstream.port }}";
    container["command"] = json!([
        "nc",
        "-ll",
        "-p",
        "{{ ports.listen }}",
        "-e",
        "sh",
        "-c",
        relay
    ]);
    marker
}

/// The shop answers with the request as it came. Its probes name its port as a Service would.
fn shop(port: Value, annotations: Value) -> Value {
    let mut shop = pod("shop", annotations);
    shop["metadata"]["labels"] = json!({"app": "shop"});
    let by = port.get("name").unwrap_or(&port["containerPort"]);
    let probe = json!({"httpGet": {"path": "/healthz", "port": by}, "periodSeconds": 1});
    shop["spec"]["containers"] = json!([{
        "name": "app", "image": "registry.example/shop:1.4", "ports": [port],
        "startupProbe": probe, "readinessProbe": probe, "livenessProbe": probe,
    }]);
    shop
}

/// A Service before the shop, by a port's name or number.
fn service(name: &str, target: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": "shop"}, "ports": [{"port": 80, "targetPort": target}]},
    })
}

/// The shop, Services before it, and a client beside it, all ready; and what `kubectl apply` said of the shop.
async fn open(space: &Space, shop: &Value, services: &[Value]) -> (Value, String) {
    for object in services.iter().chain([&pod("client", json!({}))]) {
        space.create(object).await.expect("created");
    }
    let said = space.apply(shop).await.expect("a Pod");
    space.ready("client").await;
    (space.ready("shop").await, said)
}

/// What the client gets of a Service: its own request, as it reached the shop.
async fn get(space: &Space, service: &str) -> String {
    talk(space, service, "nc $IP 80 < request").await
}

/// The same over TLS. The client believes any certificate, and speaks as long as its standard input is open.
async fn get_by_tls(space: &Space, service: &str) -> String {
    let speak = "exec 3<&0 4<>open; cat request >&4; ssl_client -s 3 -n shop <&4 >answer";
    let script = format!("mkfifo open; nc $IP 80 -e sh -c '{speak}'; cat answer");
    talk(space, service, &script).await
}

async fn talk(space: &Space, service: &str, how: &str) -> String {
    let object = space.get("v1", "Service", service).await;
    let address = object.expect("a Service")["spec"]["clusterIP"].clone();
    let script = format!(
        "cd /tmp; rm -f open answer; printf 'GET / HTTP/1.0\\r\\nHost: shop\\r\\n\\r\\n' > request; IP={address}; {how}"
    );
    // A Service has its endpoints a moment after they are ready.
    until(&format!("an answer from Service {service}"), async || {
        let command = ["exec", "client", "--", "timeout", "5", "sh", "-c", &script];
        let answer = space.kubectl(&command).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        assert!(head.contains(" 200 "), "{head}");
        Some(body.to_owned())
    })
    .await
}

/// The marks on a request, the innermost helper's first.
fn marks(request: &str) -> Vec<&str> {
    let mark = |line| str::strip_prefix(line, "X-Passed: ").map(str::trim_end);
    request.lines().filter_map(mark).collect()
}

/// The ports of a container: name and number.
fn ports(pod: &Value, container: &str) -> Vec<(Option<String>, u64)> {
    let ports = ["initContainers", "containers"]
        .iter()
        .flat_map(|list| pod["spec"][list].as_array().into_iter().flatten())
        .filter(|there| there["name"] == container)
        .flat_map(|there| there["ports"].as_array().into_iter().flatten());
    ports
        .map(|port| {
            let name = port["name"].as_str().map(str::to_owned);
            (name, port["containerPort"].as_u64().expect("a number"))
        })
        .collect()
}

#[tokio::test]
async fn a_service_reaches_the_helper_by_name_and_goes_past_it_by_number() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("work-interpose", json!({})).await;
    space.define(&marker("guard", 100)).await;
    let port = json!({"name": "http", "containerPort": 8080});
    let shop = shop(port, json!({"sidecar.outrigger.dev/guard": ""}));
    let services = [
        service("by-name", "http".into()),
        service("by-number", 8080.into()),
    ];
    let (ready, _) = open(&space, &shop, &services).await;
    assert_eq!(ports(&ready, "guard"), [(Some("http".to_owned()), 17000)]);
    assert_eq!(ports(&ready, "app"), [(None, 8080)]);
    assert_eq!(marks(&get(&space, "by-name").await), ["guard"]);
    assert_eq!(marks(&get(&space, "by-number").await), [] as [&str; 0]);

    // The kubelet looks a probe's name up in the probe's own container, where it is no more.
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let container = &ready["spec"]["containers"][0];
        assert_eq!(container[probe]["httpGet"]["port"], 8080, "{probe}");
    }

    let target = ["explain", "pod/shop", "-n", "work-interpose"];
    let said = outrigger(&target).await.expect("an explanation").stdout;
    let sentence = "stands before port http (8080) of app: listens on 17000, sends to 8080; \
                    a Service reaches it by `targetPort: http`, not by a number";
    assert!(said.contains(sentence), "{said}");
}

#[tokio::test]
async fn a_chain_passes_requests_on_by_rank() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("work-chain", json!({})).await;
    // Neither the names' order nor that of the annotations is the ranks'.
    for (name, rank) in [("mid", 20), ("inner", 30), ("outer", 10)] {
        space.define(&marker(name, rank)).await;
    }
    let asks = json!({
        "sidecar.outrigger.dev/inner": "",
        "sidecar.outrigger.dev/mid": "",
        "sidecar.outrigger.dev/outer": "",
    });
    let shop = shop(json!({"name": "http", "containerPort": 8080}), asks);
    let (ready, _) = open(&space, &shop, &[service("chain", "http".into())]).await;
    assert_eq!(sidecars(&ready), ["outer", "mid", "inner"]);
    assert_eq!(
        marks(&get(&space, "chain").await),
        ["inner", "mid", "outer"]
    );
    let named = |container| ports(&ready, container)[0].0.clone();
    let names = ["outer", "mid", "inner", "app"].map(named);
    assert_eq!(names, [Some("http".to_owned()), None, None, None]);
}

#[tokio::test]
async fn a_port_without_a_name_stays_as_it_is_and_the_author_is_told_where_to_point() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("work-nameless", json!({})).await;
    space.define(&marker("guard", 100)).await;
    let asks = json!({"sidecar.outrigger.dev/guard": ""});
    let shop = shop(json!({"containerPort": 8080}), asks);
    let services = [service("helper", 17000.into()), service("app", 8080.into())];
    let (ready, said) = open(&space, &shop, &services).await;
    assert_eq!(ports(&ready, "guard"), [(None, 17000)]);
    assert_eq!(ports(&ready, "app"), [(None, 8080)]);
    assert_eq!(marks(&get(&space, "helper").await), ["guard"]);
    assert_eq!(marks(&get(&space, "app").await), [] as [&str; 0]);
    let advice = "Warning: outrigger: point the Service's targetPort at 17000: `guard` listens there before port 8080, which has no name\n";
    assert!(said.contains(advice), "{said}");
}

#[tokio::test]
async fn https_serves_the_app_with_the_certificate_of_a_secret() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("work-https", json!({})).await;
    let certificates = Certificates::of("shop.example").await;
    space
        .create(&certificates.secret("shop-tls"))
        .await
        .expect("a Secret");
    let asks = json!({"sidecar.outrigger.dev/https": "{secretName: shop-tls}"});
    let shop = shop(json!({"name": "http", "containerPort": 8080}), asks);
    let (ready, _) = open(&space, &shop, &[service("shop", "http".into())]).await;
    assert_eq!(ports(&ready, "https")[0], (Some("http".to_owned()), 8443));
    let request = get_by_tls(&space, "shop").await;
    assert!(request.starts_with("GET / "), "{request}");
    assert!(request.contains("X-Forwarded-Proto: https"), "{request}");

    // `kubectl port-forward` finds the port by the name, too; here the client looks at the certificate.
    let mut forward = Command::new("kubectl")
        .args([
            "--namespace",
            "work-https",
            "port-forward",
            "service/shop",
            ":80",
        ])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("kubectl");
    let mut lines = BufReader::new(forward.stdout.take().expect("a pipe")).lines();
    let line = lines.next_line().await.expect("a line").expect("a port");
    let port = line
        .strip_prefix("Forwarding from 127.0.0.1:")
        .and_then(|rest| rest.split(' ').next());
    let answer = certificates
        .get(port.expect("a port"), "shop.example")
        .await;
    assert!(
        answer
            .expect("an answer")
            .contains("X-Forwarded-Proto: https")
    );
    let elsewhere = certificates
        .get(port.expect("a port"), "till.example")
        .await;
    assert!(elsewhere.is_err(), "{elsewhere:?}");
}

/// A CA and a certificate, as `outrigger certs` makes them.
struct Certificates {
    ca: Vec<u8>,
    pair: [String; 2],
}

impl Certificates {
    async fn of(host: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("outrigger-e2e-{}", std::process::id()));
        let path = directory.to_str().expect("a path");
        outrigger(&["certs", "--directory", path, host])
            .await
            .expect("certificates");
        let read = |file: &str| std::fs::read_to_string(directory.join(file)).expect("a file");
        let ca = x509_parser::pem::parse_x509_pem(read("ca.pem").as_bytes())
            .expect("PEM")
            .1;
        let made = Self {
            ca: ca.contents,
            pair: ["tls.crt", "tls.key"].map(read),
        };
        std::fs::remove_dir_all(directory).expect("removed");
        made
    }

    fn secret(&self, name: &str) -> Value {
        let [certificate, key] = &self.pair;
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name},
            "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": certificate, "tls.key": key},
        })
    }

    /// What a client gets that trusts the CA and nobody else.
    async fn get(&self, port: &str, host: &str) -> kube::Result<String> {
        let url = format!("https://127.0.0.1:{port}").parse().expect("a URL");
        let mut config = Config::new(url);
        config.root_cert = Some(vec![self.ca.clone()]);
        config.tls_server_name = Some(host.to_owned());
        let request = Request::new("/till").get("shop", &GetParams::default());
        Client::try_from(config)?
            .request_text(request.expect("a request"))
            .await
    }
}
