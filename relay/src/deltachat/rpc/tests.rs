#![allow(clippy::unwrap_used)]

use super::*;
use tokio::io::{DuplexStream, Lines, ReadHalf, WriteHalf, duplex, split};

/// The other side, played by the test.
struct Script {
    calls: Lines<BufReader<ReadHalf<DuplexStream>>>,
    output: WriteHalf<DuplexStream>,
}

impl Script {
    fn new() -> (Rpc, Script) {
        let (ours, theirs) = duplex(256);
        let (output, input) = split(ours);
        let (calls, answers) = split(theirs);
        let script = Script {
            calls: BufReader::new(calls).lines(),
            output: answers,
        };
        (Rpc::over(output, input), script)
    }

    /// The next call; `None` once our side has closed.
    async fn call(&mut self) -> Option<Value> {
        let line = self.calls.next_line().await.unwrap()?;
        Some(serde_json::from_str(&line).unwrap())
    }

    async fn say(&mut self, text: &str) {
        self.output.write_all(text.as_bytes()).await.unwrap();
    }

    async fn answer(&mut self, call: &Value, result: Value) {
        let id = &call["id"];
        self.say(&format!(
            "{}\n",
            json!({"jsonrpc": "2.0", "id": id, "result": result})
        ))
        .await;
    }
}

/// A call that is under way.
fn start(rpc: &Rpc, method: &'static str) -> tokio::task::JoinHandle<Result<Value, Error>> {
    let rpc = rpc.clone();
    tokio::spawn(async move { rpc.call(method, json!([1, "two"])).await })
}

#[tokio::test]
async fn a_call_is_one_line_and_its_answer_finds_it() {
    let (rpc, mut script) = Script::new();
    let call = start(&rpc, "add");
    let asked = script.call().await.unwrap();
    assert_eq!(
        asked,
        json!({"jsonrpc": "2.0", "id": 1, "method": "add", "params": [1, "two"]})
    );
    script.answer(&asked, json!("three")).await;
    assert_eq!(call.await.unwrap().unwrap(), json!("three"));
}

#[tokio::test]
async fn answers_may_come_in_any_order() {
    let (rpc, mut script) = Script::new();
    let calls = ["a", "b", "c"].map(|method| start(&rpc, method));
    let mut asked = Vec::new();
    for _ in &calls {
        asked.push(script.call().await.unwrap());
    }
    for call in asked.iter().rev() {
        script.answer(call, call["method"].clone()).await;
    }
    for (call, method) in calls.into_iter().zip(["a", "b", "c"]) {
        assert_eq!(call.await.unwrap().unwrap(), json!(method));
    }
}

#[tokio::test]
async fn odd_lines_are_passed_over() {
    let (rpc, mut script) = Script::new();
    let call = start(&rpc, "a");
    let asked = script.call().await.unwrap();
    for odd in [
        "\n",
        "  \n",
        "a library says hello\n",
        "\u{fffd}\n",
        "[1, 2]\n",
        "{\"id\": \"one\", \"result\": 1}\n",
        "{\"id\": 77, \"result\": 1}\n",
        "{\"jsonrpc\": \"2.0\", \"method\": \"event\", \"params\": {}}\n",
        "{\"jsonrpc\": \"2.0\", \"id\": null, \"error\": {\"code\": -32700, \"message\": \"?\"}}\n",
    ] {
        script.say(odd).await;
    }
    script.answer(&asked, json!(1)).await;
    assert_eq!(call.await.unwrap().unwrap(), json!(1));
}

#[tokio::test]
async fn an_answer_may_come_in_pieces_and_without_a_result() {
    let (rpc, mut script) = Script::new();
    let call = start(&rpc, "a");
    script.call().await.unwrap();
    for piece in ["{\"jsonrpc\":", "\"2.0\",\"i", "d\":1", "}\r", "\n"] {
        script.say(piece).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(call.await.unwrap().unwrap(), Value::Null);
}

#[tokio::test]
async fn an_error_keeps_its_words_to_itself() {
    let (rpc, mut script) = Script::new();
    let call = start(&rpc, "send_msg");
    script.call().await.unwrap();
    let words = "cannot send to bob@chat.test";
    let error = json!({"id": 1, "error": {"code": -1, "message": words}});
    script.say(&format!("{error}\n")).await;
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "send_msg failed (code -1)");
    assert!(!format!("{error:?}").contains("bob"));
    assert_eq!(error.words(), Some(words));
    assert!(!error.is_final());
}

#[tokio::test]
async fn a_result_of_another_form_is_an_error_without_its_content() {
    let (rpc, mut script) = Script::new();
    let number = {
        let rpc = rpc.clone();
        tokio::spawn(async move { rpc.call::<u32>("get_config", json!([])).await })
    };
    let asked = script.call().await.unwrap();
    script.answer(&asked, json!("bob@chat.test")).await;
    let error = number.await.unwrap().unwrap_err();
    assert!(matches!(
        error,
        Error::Unexpected {
            method: "get_config"
        }
    ));
    assert!(!format!("{error} {error:?}").contains("bob"));
}

#[tokio::test]
async fn everybody_who_waits_is_told_when_the_other_side_dies_mid_call() {
    let (rpc, mut script) = Script::new();
    let calls = ["a", "b"].map(|method| start(&rpc, method));
    script.call().await.unwrap();
    script.say("{\"id\": 1, \"result\": ").await;
    drop(script);
    for call in calls {
        assert!(matches!(call.await.unwrap(), Err(Error::Gone)));
    }
    let later = rpc.call::<Value>("c", json!([])).await;
    assert!(later.unwrap_err().is_final());
}

#[tokio::test]
async fn a_call_that_is_dropped_harms_no_other() {
    let (rpc, mut script) = Script::new();
    let dropped = start(&rpc, "a");
    let asked = script.call().await.unwrap();
    dropped.abort();
    let _ = dropped.await;
    script.answer(&asked, json!(1)).await;
    let call = start(&rpc, "b");
    let asked = script.call().await.unwrap();
    script.answer(&asked, json!(2)).await;
    assert_eq!(call.await.unwrap().unwrap(), json!(2));
}

#[tokio::test]
async fn closing_ends_the_other_sides_input_after_what_was_sent() {
    let (rpc, mut script) = Script::new();
    let call = start(&rpc, "last");
    let asked = script.call().await.unwrap();
    rpc.close();
    assert!(script.call().await.is_none());
    script.answer(&asked, json!(1)).await;
    assert_eq!(call.await.unwrap().unwrap(), json!(1));
    assert!(rpc.call::<Value>("more", json!([])).await.is_err());
}

#[tokio::test]
async fn a_line_without_end_is_given_up() {
    let (rpc, mut script) = Script::new();
    let call = start(&rpc, "a");
    script.call().await.unwrap();
    let flood = tokio::spawn(async move {
        let piece = [b' '; 64 * 1024];
        let mut sent = 0;
        while script.output.write_all(&piece).await.is_ok() {
            sent += piece.len();
            assert!(sent <= 2 * LINE_MAX);
            if sent > LINE_MAX + 2 * piece.len() {
                break;
            }
        }
    });
    assert!(matches!(call.await.unwrap(), Err(Error::Gone)));
    flood.abort();
}

#[tokio::test]
async fn a_side_that_says_nothing_is_not_waited_for_for_ever() {
    let (rpc, _script) = Script::new();
    let patience = Duration::from_millis(1);
    let answer = rpc.call_within::<Value>(patience, "a", json!([])).await;
    let error = answer.unwrap_err();
    assert!(matches!(error, Error::Silent { method: "a" }));
    assert!(error.is_final());
}
