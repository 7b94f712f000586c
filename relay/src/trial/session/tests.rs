#![allow(clippy::unwrap_used)]

use super::*;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, duplex, split};

use super::super::{Outcome, Report, Sign, Tried};
use crate::deltachat::Relay;

/// What the other side does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    LoginRefused,
    NoAnswer,
    NoConfirmation,
    Cleartext,
    NoEcho,
    NotTaken,
    MessageRefused,
    OtherBytes,
    /// In the middle of a login.
    CoreEnds,
}

/// Plays core, and an echo bot behind it.
struct Core {
    fault: Fault,
    directory: tempfile::TempDir,
    /// That nobody has asked for yet.
    events: Vec<Value>,
    /// What the echo bot sent back, by number.
    fresh: Vec<(u32, Value)>,
    last_message: u32,
}

impl Core {
    /// `None`: ends instead of an answer. An error is core's words.
    fn answer(&mut self, method: &str, params: &Value) -> Option<Result<Value, &'static str>> {
        let fault = self.fault;
        Some(Ok(match method {
            "add_account" => json!(7),
            "add_or_update_transport" => match fault {
                Fault::LoginRefused => {
                    self.happens(warning("src/imap.rs:1: invalid certificate"));
                    self.happens(warning("src/configure.rs:1: configure failed: pass-a"));
                    return Some(Err("Cannot login as ci-a. (wrong: pass-a)"));
                }
                Fault::CoreEnds => return None,
                _ => Value::Null,
            },
            "start_io" => {
                self.happens(json!({"kind": "ImapInboxIdle"}));
                Value::Null
            }
            "secure_join" => {
                let progress = |thousandths: u16| json!({"kind": "SecurejoinJoinerProgress", "contactId": 10, "progress": thousandths});
                if fault != Fault::NoAnswer {
                    self.happens(progress(400));
                }
                if !matches!(fault, Fault::NoAnswer | Fault::NoConfirmation) {
                    self.happens(progress(1000));
                }
                json!(12)
            }
            "get_basic_chat_info" => json!({
                "id": 12, "chatType": "Single", "isContactRequest": false, "isSelfTalk": false,
                "isDeviceChat": false, "isEncrypted": true
            }),
            "send_msg" => json!(self.send(&params[2])),
            "get_fresh_msgs" => self.fresh.iter().map(|(id, _)| json!(id)).collect(),
            "get_message" => self.message(&params[1]),
            _ => Value::Null,
        }))
    }

    fn happens(&mut self, event: Value) {
        self.events.push(json!({"contextId": 7, "event": event}));
    }

    fn send(&mut self, outgoing: &Value) -> u32 {
        self.last_message += 2;
        let id = self.last_message;
        let event = |kind: &str| json!({"kind": kind, "chatId": 12, "msgId": id});
        match self.fault {
            Fault::NotTaken => {
                self.happens(warning("450 4.7.1: Too much mail"));
                return id;
            }
            Fault::MessageRefused => {
                self.happens(event("MsgFailed"));
                return id;
            }
            _ => self.happens(event("MsgDelivered")),
        }
        if self.fault == Fault::NoEcho {
            return id;
        }
        let mut echo = json!({
            "id": id + 1, "chatId": 12, "fromId": 10, "text": outgoing["text"].as_str().unwrap_or_default(),
            "downloadState": "Done", "showPadlock": self.fault != Fault::Cleartext,
            "fileName": outgoing["filename"], "sender": {},
        });
        if let Some(file) = outgoing["file"].as_str() {
            let mut content = fs::read(file).unwrap();
            if self.fault == Fault::OtherBytes {
                content[70_000] ^= 1;
            }
            let path = self.directory.path().join("echo");
            fs::write(&path, content).unwrap();
            echo["file"] = json!(path);
        }
        self.fresh.push((id + 1, echo));
        self.happens(json!({"kind": "IncomingMsg", "chatId": 12, "msgId": id + 1}));
        id
    }

    fn message(&self, id: &Value) -> Value {
        let mut fresh = self.fresh.iter();
        match fresh.find(|(fresh, _)| json!(fresh) == *id) {
            Some((_, message)) => message.clone(),
            None => json!({"id": id, "error": "523 Encryption Needed", "sender": {}}),
        }
    }
}

fn warning(words: &str) -> Value {
    json!({"kind": "Warning", "msg": words})
}

/// Core on the other end of a line.
fn start(fault: Fault) -> Rpc {
    let (ours, theirs) = duplex(64 * 1024);
    let (output, input) = split(ours);
    let (calls, mut answers) = split(theirs);
    let mut core = Core {
        fault,
        directory: tempfile::tempdir().unwrap(),
        events: Vec::new(),
        fresh: Vec::new(),
        last_message: 20,
    };
    tokio::spawn(async move {
        let mut calls = BufReader::new(calls).lines();
        let mut asked_for_events = None;
        while let Some(call) = calls.next_line().await.unwrap() {
            let call: Value = serde_json::from_str(&call).unwrap();
            let id = &call["id"];
            let mut said = String::new();
            match call["method"].as_str().unwrap() {
                "get_next_event_batch" => asked_for_events = Some(id.clone()),
                method => {
                    let Some(answer) = core.answer(method, &call["params"]) else {
                        return;
                    };
                    let answer = match answer {
                        Ok(result) => json!({"id": id, "result": result}),
                        Err(words) => json!({"id": id, "error": {"code": -1, "message": words}}),
                    };
                    said = format!("{answer}\n");
                }
            }
            if !core.events.is_empty()
                && let Some(id) = asked_for_events.take()
            {
                let batch = std::mem::take(&mut core.events);
                said += &format!("{}\n", json!({"id": id, "result": batch}));
            }
            answers.write_all(said.as_bytes()).await.unwrap();
        }
    });
    Rpc::over(output, input)
}

fn settings() -> Settings {
    Settings {
        relay: Relay {
            host: "chat.test".to_owned(),
            imap_port: 993,
            smtp_port: 465,
            any_certificate: false,
        },
        rpc_server: "deltachat-rpc-server".into(),
        account: Login {
            address: "ci-a@chat.test".to_owned(),
            password: "pass-a".to_owned(),
        },
        partner: Partner::EchoBot("https://i.delta.chat/#x".to_owned()),
        timeout: Duration::from_secs(60),
        refusal_hint: Some("registration = closed".to_owned()),
    }
}

/// The steps, and what was told meanwhile.
async fn tried(fault: Fault) -> Result<(Report, Vec<String>), Why> {
    let settings = settings();
    let rpc = start(fault);
    let directory = tempfile::tempdir().unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut watch = |sign: Sign<'_>| {
        if let Sign::Ended(Tried { step, .. }) = sign {
            told.lock().unwrap().push(step.word().to_owned());
        }
    };
    let mut log = Log::new(&mut watch);
    let report = match run(&settings, directory.path(), &rpc, &mut log).await {
        Ok(()) => log.report(None),
        Err(Why::Failed(why)) => log.report(Some(settings.presentable(&why))),
        Err(why) => return Err(why),
    };
    let told = told.lock().unwrap().clone();
    Ok((report, told))
}

/// The step that fails and why; those behind it were not tried.
#[track_caller]
fn assert_fails(report: &Report, step: Step, reason: &str) {
    assert_eq!(report.failed(), Some(step));
    let mut failed = false;
    for tried in &report.steps {
        match &tried.outcome {
            Outcome::Passed(_) => assert!(!failed),
            Outcome::Failed(_, why) => {
                assert_eq!((tried.step, why.as_str()), (step, reason));
                failed = true;
            }
            Outcome::NotTried => assert!(failed),
        }
    }
    assert_eq!(report.steps.len(), Step::ALL.len());
}

#[tokio::test(start_paused = true)]
async fn with_a_relay_and_a_bot_that_work_all_steps_pass() {
    let (report, told) = tried(Fault::None).await.unwrap();
    assert_eq!(report.failed(), None);
    assert_eq!(told, ["account", "join", "text", "file"]);
}

#[tokio::test(start_paused = true)]
async fn each_fault_fails_its_step_with_a_reason_and_the_rest_is_not_tried() {
    for (fault, step, reason) in [
        (
            Fault::LoginRefused,
            Step::Account,
            "Cannot login as ci-a. (wrong: [password]) (at chat.test, ports 993 and 465; registration = closed); core: invalid certificate",
        ),
        (
            Fault::NoAnswer,
            Step::Join,
            "60 s without an answer to the invitation",
        ),
        (
            Fault::NoConfirmation,
            Step::Join,
            "60 s without a confirmation of the other side, who has answered",
        ),
        (Fault::Cleartext, Step::Text, "it came unencrypted"),
        (
            Fault::NoEcho,
            Step::Text,
            "60 s without an echo, though the relay took the message",
        ),
        (
            Fault::NotTaken,
            Step::Text,
            "60 s without the relay taking the message; core: 450 4.7.1: Too much mail",
        ),
        (
            Fault::MessageRefused,
            Step::Text,
            "the relay refused a message: 523 Encryption Needed",
        ),
        (
            Fault::OtherBytes,
            Step::File,
            "it came with other content, 100000 bytes of 100000",
        ),
    ] {
        let (report, told) = tried(fault).await.unwrap();
        assert_fails(&report, step, reason);
        assert_eq!(told, ["account", "join", "text", "file"], "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_core_that_ends_says_nothing_about_the_relay() {
    let ended = tried(Fault::CoreEnds).await;
    assert_eq!(ended.unwrap_err(), Why::Program("has ended".to_owned()));
}
