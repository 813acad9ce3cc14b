//! `redis-shard`: keys spread over real servers, and what becomes of them when a server dies.

use serde_json::{Value, json};

use crate::pod::{Pod, Running, Secrets};
use crate::process::{Answer, envoy, eventually, free_port, get};
use crate::redis::{Client, Server};

const KEYS: usize = 300;

fn key(number: usize) -> String {
    format!("key:{number}")
}

/// A running ambassador.
struct Ambassador {
    envoy: Running,
    port: u16,
    probe: u16,
}

impl Ambassador {
    fn start(mut params: Value, shards: &[String], secrets: &Secrets) -> Self {
        let port = free_port();
        params["port"] = json!(port);
        params["shards"] = json!(shards);
        let pod = Pod::inject_to_run(&[("ambassador.outrigger.dev/redis-shard", params)], 8080);
        let layout = pod.lay_out("redis-shard", secrets);
        Self {
            envoy: layout.start("envoy", &envoy()),
            port,
            probe: pod.given("redis-shard", "probe"),
        }
    }

    /// Starts it and waits, as the kubelet's startup probe does, for `/started`.
    fn started(params: Value, shards: &[Server]) -> Self {
        Self::started_with(params, shards, &Secrets::default())
    }

    fn started_with(params: Value, shards: &[Server], secrets: &Secrets) -> Self {
        let shards: Vec<_> = shards.iter().map(Server::address).collect();
        let mut ambassador = Self::start(params, &shards, secrets);
        ambassador.wait();
        ambassador
    }

    fn wait(&mut self) {
        let probe = self.probe;
        let process = &mut self.envoy.process;
        process.until("started", || get(probe, "/started").ok());
    }

    fn probe(&self, path: &str) -> Answer {
        get(self.probe, path)
    }

    fn client(&self) -> Client {
        Client::connect("127.0.0.1", self.port).expect("a connection")
    }

    /// Sets every key to a value of its own.
    fn fill(&self) {
        let mut client = self.client();
        for number in 0..KEYS {
            let reply = client.ask(&["SET", &key(number), &number.to_string()]);
            assert_eq!(reply, Ok(Some("OK".to_owned())), "{}", key(number));
        }
    }
}

fn three() -> Vec<Server> {
    (0..3).map(|_| Server::start(&[])).collect()
}

/// Where each key is, asked past the proxy.
fn homes(shards: &[Server]) -> Vec<Vec<usize>> {
    let held = |shard: &Server| {
        let mut client = shard.client();
        let found =
            |number: &usize| client.ask(&["EXISTS", &key(*number)]) == Ok(Some("1".to_owned()));
        (0..KEYS).filter(found).collect()
    };
    shards.iter().map(held).collect()
}

#[test]
fn keys_are_spread_and_come_back() {
    let shards = three();
    let ambassador = Ambassador::started(json!({}), &shards);
    ambassador.fill();
    let sizes: Vec<_> = shards.iter().map(Server::size).collect();
    assert_eq!(sizes.iter().sum::<usize>(), KEYS, "{sizes:?}");
    assert!(
        sizes
            .iter()
            .all(|size| (KEYS / 5..=KEYS / 2).contains(size)),
        "{sizes:?}"
    );
    let mut client = ambassador.client();
    for number in 0..KEYS {
        assert_eq!(
            client.ask(&["GET", &key(number)]),
            Ok(Some(number.to_string()))
        );
    }
    // A second Envoy, as in another Pod, finds every key where the first put it.
    let other = Ambassador::started(json!({}), &shards);
    let mut client = other.client();
    for number in 0..KEYS {
        assert_eq!(
            client.ask(&["GET", &key(number)]),
            Ok(Some(number.to_string()))
        );
    }
    println!("shares of {KEYS} keys: {sizes:?}");
}

#[test]
fn a_hashtag_keeps_keys_together() {
    let shards = three();
    let homes_of = |params: Value| {
        let ambassador = Ambassador::started(params, &shards);
        let mut client = ambassador.client();
        for number in 0..30 {
            client
                .ask(&["SET", &format!("{{cart}}:{number}"), "1"])
                .expect("set");
        }
        let used = shards.iter().filter(|shard| shard.size() > 0).count();
        for shard in &shards {
            shard.client().ask(&["FLUSHALL"]).expect("flushed");
        }
        used
    };
    assert_eq!(homes_of(json!({})), 1);
    assert_eq!(homes_of(json!({"hashtag": false})), 3);
}

#[test]
fn commands_that_would_reach_every_client_are_refused() {
    let shards = three();
    let ambassador = Ambassador::started(json!({}), &shards);
    ambassador.fill();
    let mut client = ambassador.client();
    for words in [
        &["SELECT", "1"][..],
        &["FLUSHALL"],
        &["FLUSHDB"],
        &["flushall"],
        &["CONFIG", "GET", "maxmemory"],
        &["KEYS", "*"],
        &["RANDOMKEY"],
    ] {
        let reply = client.ask(words);
        assert!(reply.is_err(), "{words:?}: {reply:?}");
    }
    // Had one of them got through, keys would be gone or in another database.
    let mut other = ambassador.client();
    for number in 0..KEYS {
        assert_eq!(
            other.ask(&["GET", &key(number)]),
            Ok(Some(number.to_string()))
        );
    }
}

/// The control of the test above: it is the pattern that refuses them, neither Envoy nor Redis.
#[test]
fn what_is_not_blocked_gets_through() {
    let shards = three();
    let ambassador = Ambassador::started(json!({"blockCommands": []}), &shards);
    ambassador.fill();
    let mut client = ambassador.client();
    assert_eq!(client.ask(&["FLUSHALL"]), Ok(Some("OK".to_owned())));
    eventually("keys are gone", || {
        let left: usize = shards.iter().map(Server::size).sum();
        if left < KEYS { Ok(()) } else { Err(left) }
    });
    assert_eq!(client.ask(&["SELECT", "1"]), Ok(Some("OK".to_owned())));
}

#[test]
fn not_started_before_every_shard_is_known() {
    let shard = Server::start(&[]);
    // RFC 6761 §6.4: never resolves.
    let shards = [shard.address(), "redis-1.invalid:6379".to_owned()];
    let mut ambassador = Ambassador::start(json!({}), &shards, &Secrets::default());
    let said = eventually("one of two shards is known", || {
        let said = ambassador.probe("/started").status(503)?;
        if said.contains(" is 1 of 2") {
            Ok(said)
        } else {
            Err(said)
        }
    });
    assert_eq!(said, "cluster.shards.membership_total is 1 of 2\n");
    // Envoy itself would have called it ready.
    assert_eq!(ambassador.probe("/ready").status, 200);
    ambassador.envoy.process.assert_running();
}

#[test]
fn a_dead_shard_fails_its_own_keys_only() {
    let mut shards = three();
    let ambassador = Ambassador::started(json!({}), &shards);
    ambassador.fill();
    let homes = homes(&shards);
    shards[1].stop();
    let mut client = ambassador.client();
    for number in 0..KEYS {
        let reply = client.ask(&["GET", &key(number)]);
        if homes[1].contains(&number) {
            assert!(reply.is_err(), "{}: {reply:?}", key(number));
        } else {
            assert_eq!(reply, Ok(Some(number.to_string())), "{}", key(number));
        }
    }
    // The gate is for the start: it must not close again and take the app out of service.
    assert_eq!(ambassador.probe("/started").status, 200);
    shards[1].restart();
    let lost = key(homes[1][0]);
    eventually("the shard is used again", || {
        ambassador.client().ask(&["SET", &lost, "again"])
    });
    assert_eq!(
        shards[1].client().ask(&["GET", &lost]),
        Ok(Some("again".to_owned()))
    );
}

#[test]
fn a_dead_shards_keys_move_where_asked_to() {
    let mut shards = three();
    let ambassador = Ambassador::started(json!({"onShardFailure": "remap"}), &shards);
    ambassador.fill();
    let homes = homes(&shards);
    shards[1].stop();
    eventually("every key can be written", || {
        let mut client = ambassador.client();
        (0..KEYS).try_for_each(|number| client.ask(&["SET", &key(number), "moved"]).map(drop))
    });
    let moved = homes[1].iter().filter(|number| {
        [0, 2].iter().any(|shard: &usize| {
            shards[*shard].client().ask(&["GET", &key(**number)]) == Ok(Some("moved".to_owned()))
        })
    });
    assert_eq!(moved.count(), homes[1].len());
    // The others have stayed where they were.
    for shard in [0, 2] {
        let mut client = shards[shard].client();
        for number in &homes[shard] {
            assert_eq!(
                client.ask(&["GET", &key(*number)]),
                Ok(Some("moved".to_owned()))
            );
        }
    }
}

#[test]
fn the_password_comes_from_the_secret() {
    let shards: Vec<_> = (0..2)
        .map(|_| Server::start(&["--requirepass", "hunter2"]))
        .collect();
    let secret = |password: &str| {
        Secrets::of(
            "redis-auth",
            [("token".to_owned(), password.to_owned())].into(),
        )
    };
    let params = json!({"passwordSecret": {"name": "redis-auth", "key": "token"}});
    let right = Ambassador::started_with(params.clone(), &shards, &secret("hunter2"));
    assert_eq!(
        right.client().ask(&["SET", "a", "1"]),
        Ok(Some("OK".to_owned()))
    );
    assert_eq!(right.client().ask(&["GET", "a"]), Ok(Some("1".to_owned())));
    let wrong = Ambassador::started_with(params, &shards, &secret("hunter3"));
    let reply = wrong.client().ask(&["GET", "a"]);
    assert!(reply.is_err(), "{reply:?}");
}

/// With health checks, the password has to reach those too.
#[test]
fn remap_works_with_a_password() {
    let shards: Vec<_> = (0..2)
        .map(|_| Server::start(&["--requirepass", "hunter2"]))
        .collect();
    let secrets = Secrets::of(
        "redis-auth",
        [("password".to_owned(), "hunter2".to_owned())].into(),
    );
    let params = json!({"passwordSecret": {"name": "redis-auth"}, "onShardFailure": "remap"});
    let ambassador = Ambassador::started_with(params, &shards, &secrets);
    ambassador.fill();
    assert_eq!(shards_hold(&shards, "hunter2"), KEYS);
}

fn shards_hold(shards: &[Server], password: &str) -> usize {
    let size = |shard: &Server| {
        let mut client = shard.client();
        client.ask(&["AUTH", password]).expect("the password");
        let size = client.ask(&["DBSIZE"]).expect("a size").expect("a number");
        size.parse::<usize>().expect("a number")
    };
    shards.iter().map(size).sum()
}

#[test]
fn shards_by_name_and_by_ipv6_address() {
    let shards = [Server::start(&[]), Server::start_on("::1", &[])];
    let by_name = shards[0].address().replace("127.0.0.1", "localhost");
    let addresses = [by_name, shards[1].address()];
    let mut ambassador = Ambassador::start(json!({}), &addresses, &Secrets::default());
    ambassador.wait();
    ambassador.fill();
    let sizes: Vec<_> = shards.iter().map(Server::size).collect();
    assert_eq!(sizes.iter().sum::<usize>(), KEYS, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size > KEYS / 4), "{sizes:?}");
}
