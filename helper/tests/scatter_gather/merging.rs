//! How answers become one.

use std::time::Duration;

use serde_json::json;

use super::leaf::{Gate, Leaves, Reply};
use super::{Root, usual};
use crate::support::until;

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_merged_in_the_order_of_leaves_whoever_comes_first() {
    let leaves = Leaves::start(4).await;
    let gates = [(); 4].map(|()| Gate::shut());
    for ((number, leaf), gate) in (1..).zip(leaves.iter()).zip(&gates) {
        leaf.replies(Reply::json(json!({"hits": [number], "from": "leaf"})).behind(gate));
    }
    let root = Root::of(&leaves, &["--leaf-timeout", "60s"]).await;
    let client = root.client.get(&root.url);
    let answer = tokio::spawn(async move { client.send().await?.text().await });
    // The last leaf first.
    for (leaf, gate) in leaves.iter().zip(&gates).rev() {
        gate.open();
        until("its answer", async || (leaf.answered() == 1).then_some(())).await;
    }
    let answer = answer.await.expect("no panic").expect("an answer");
    assert_eq!(answer, r#"{"hits":[1,2,3,4],"from":"leaf"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_sorted_and_cut() {
    let leaves = Leaves::start(4).await;
    let options = ["--list", "hits", "--sort-by", "-score", "--limit", "3"];
    let answer = Root::of(&leaves, &options).await.get("/").await;
    let mut expected = usual(&[1, 2, 3, 4]);
    expected["hits"] = json!([4, 3, 2].map(|n| json!({"doc": format!("d{n}"), "score": n})));
    assert_eq!(answer.json(), expected);

    leaves.all_reply(&Reply::text(200, "[3,\"b\",1,\"a\"]"));
    let options = ["--merge", "concat", "--limit", "5"];
    let answer = Root::of(&leaves, &options).await.get("/").await;
    assert_eq!(answer.body, r#"[3,"b",1,"a",3]"#);
    let options = ["--limit", "0"];
    let answer = Root::of(&leaves, &options).await.get("/").await;
    assert_eq!(answer.body, "[]");
}

#[tokio::test(flavor = "multi_thread")]
async fn concat_makes_one_list_of_lists_and_others() {
    let leaves = Leaves::start(4).await;
    for (leaf, text) in leaves.iter().zip([" [1,2] ", "{\"a\": [3]}", "", "null"]) {
        leaf.replies(Reply::text(200, text));
    }
    let root = Root::of(&leaves, &["--merge", "concat"]).await;
    let answer = root.get("/").await;
    assert_eq!(answer.leaves(), "4/4");
    assert_eq!(answer.body, r#"[1,2,{"a": [3]},null]"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_pass_digit_by_digit() {
    let leaves = Leaves::start(2).await;
    leaves[0].replies(Reply::text(
        200,
        r#"{"sum":9007199254740993,"id":[12345678901234567890123],"x":[0.10]}"#,
    ));
    leaves[1].replies(Reply::text(
        200,
        r#"{"sum":18446744073709551615,"id":[1e400],"x":[-0.0]}"#,
    ));
    let answer = Root::of(&leaves, &[]).await.get("/").await;
    assert_eq!(
        answer.body,
        r#"{"sum":18455751272964292608,"id":[12345678901234567890123,1e400],"x":[0.10,-0.0]}"#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_good_answer_passes_as_it_is_and_the_others_are_let_go() {
    let leaves = Leaves::start(4).await;
    let gate = Gate::shut();
    leaves[0].replies(Reply::Silence);
    leaves[1].replies(Reply::text(500, "[]"));
    leaves[2].replies(
        Reply::Answer {
            status: 203,
            headers: "content-type: text/plain\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\
                      etag: \"x\"\r\nconnection: keep-alive, x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=1\r\n"
                .to_owned(),
            body: b"no \xff JSON".to_vec(),
        }
        .behind(&gate),
    );
    leaves[3].replies(Reply::Silence);
    let root = Root::of(&leaves, &["--merge", "first", "--leaf-timeout", "60s"]).await;
    let open = async {
        until("everybody to be asked", async || {
            leaves
                .iter()
                .all(|leaf| !leaf.seen().is_empty())
                .then_some(())
        })
        .await;
        gate.open();
    };
    let ask = async {
        let response = root.client.get(&root.url).send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, headers, response.bytes().await.expect("a body"))
    };
    let ((status, headers, body), ()) = tokio::join!(ask, open);
    assert_eq!((status, &body[..]), (203, b"no \xff JSON".as_slice()));
    let header = |name| headers.get_all(name).iter().collect::<Vec<_>>();
    assert_eq!(header("content-type"), ["text/plain"]);
    assert_eq!(header("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(header("etag"), ["\"x\""]);
    assert_eq!(header("content-length"), ["9"]);
    assert_eq!(header("x-leaves"), ["1/4"]);
    for name in ["x-hop", "keep-alive", "connection"] {
        assert!(header(name).is_empty(), "{name}: {headers:?}");
    }
    until("the others to be let go", async || {
        (leaves[0].open() + leaves[3].open() == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leafs_own_account_of_leaves_does_not_pass() {
    let leaves = Leaves::start(1).await;
    leaves.all_reply(&Reply::Answer {
        status: 200,
        headers: "x-leaves: 7/9\r\nx-leaves-missing: 10.0.0.1:80 timeout\r\n".to_owned(),
        body: b"1".to_vec(),
    });
    let answer = Root::of(&leaves, &["--merge", "first"])
        .await
        .get("/")
        .await;
    assert_eq!(
        (answer.leaves(), answer.header("x-leaves-missing")),
        ("1/1", "")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_first_answer_is_good_there_is_none() {
    let mut leaves = Leaves::start(3).await;
    leaves[0].replies(Reply::text(500, "[]"));
    leaves[1].replies(Reply::Raw(Vec::new()));
    leaves.stop(2).await;
    let answer = Root::of(&leaves, &["--merge", "first"])
        .await
        .get("/")
        .await;
    assert_eq!((answer.status, answer.leaves()), (504, "0/3"));
    assert_eq!(answer.missing().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_is_a_list_of_what_each_leaf_said() {
    let leaves = Leaves::start(4).await;
    leaves[0].replies(Reply::text(200, r#"{"id":12345678901234567890123}"#));
    leaves[1].replies(Reply::text(201, "no \"JSON\""));
    leaves[2].replies(Reply::text(404, "[]"));
    leaves[3].replies(Reply::Silence);
    let options = ["--merge", "raw", "--leaf-timeout", "300ms"];
    let answer = Root::of(&leaves, &options).await.get("/").await;
    assert_eq!((answer.status, answer.leaves()), (200, "2/4"));
    let leaf = |index: usize| leaves[index].address;
    assert_eq!(
        answer.body,
        format!(
            r#"[{{"leaf":"{}","status":200,"body":{{"id":12345678901234567890123}}}},{{"leaf":"{}","status":201,"body":"no \"JSON\""}},{{"leaf":"{}","error":"status-404"}},{{"leaf":"{}","error":"timeout"}}]"#,
            leaf(0),
            leaf(1),
            leaf(2),
            leaf(3)
        )
    );
}

/// The missing ones are named in the order of leaves, too.
#[tokio::test(flavor = "multi_thread")]
async fn missing_leaves_are_named_in_the_order_of_leaves() {
    let leaves = Leaves::start(3).await;
    leaves[0].replies(Reply::Silence);
    leaves[2].replies(Reply::text(500, ""));
    let options = ["--leaf-timeout", "300ms"];
    let answer = Root::of(&leaves, &options).await.get("/").await;
    assert_eq!(
        answer.header("x-leaves-missing"),
        format!(
            "{} timeout, {} status-500",
            leaves[0].address, leaves[2].address
        )
    );
}

/// Objects within objects are read again at each depth: not much to send, and much to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_merge_that_takes_long_holds_nobody_up() {
    let leaves = Leaves::start(4).await;
    let (depth, items) = (20_000, vec!["1"; 100_000].join(","));
    let body = "{\"a\":".repeat(depth) + "[" + &items + "]" + &"}".repeat(depth);
    for leaf in leaves.iter() {
        leaf.replies_to("/big", Reply::text(200, &body));
    }
    let root = Root::of(&leaves, &["--leaf-timeout", "1s"]).await;
    let big = root.client.get(format!("{}/big", root.url));
    let big = tokio::spawn(async move { big.send().await.expect("an answer").status() });
    let (mut count, mut slowest) = (0, Duration::ZERO);
    while !big.is_finished() {
        let answer = root.get("/").await;
        assert_eq!(answer.leaves(), "4/4");
        slowest = slowest.max(answer.took);
        count += 1;
    }
    println!("{count} small requests meanwhile, the slowest took {slowest:?}");
    assert_eq!(big.await.expect("no panic").as_u16(), 200);
    assert!(count > 10 && slowest < Duration::from_millis(500));
}
