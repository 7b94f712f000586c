//! Python's `email` package reads what passed, and finds nothing readable in it.
//!
//! It is an independent reader with habits of its own: it ends a header at a line that is no field,
//! keeps preamble and epilogue, and reports defects.

mod generate;
mod oracle;

use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chatmail_core::filter::{Accepted, Class, Direction, Verdict};
use generate::corpus;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, TestRunner};

/// What the reader is asked.
struct Question {
    direction: Direction,
    class: Class,
    author: String,
    message: Vec<u8>,
}

impl Question {
    /// About a message that passes; `None` if it does not, or not as a message nobody can read.
    fn about(direction: Direction, message: &[u8]) -> Option<Question> {
        match oracle::whole(direction, message) {
            Verdict::Accepted(Accepted { class, author, .. })
                if matches!(class, Class::Encrypted | Class::SecureJoinRequest) =>
            {
                let message = message.to_vec();
                Some(Question {
                    direction,
                    class,
                    author,
                    message,
                })
            }
            _ => None,
        }
    }

    fn json(&self) -> String {
        let direction = match self.direction {
            Direction::Outgoing => "outgoing",
            Direction::Incoming => "incoming",
        };
        let class = self.class.name();
        // An address holds neither quotes nor backslashes.
        let author = &self.author;
        let message = STANDARD.encode(&self.message);
        format!(
            "{{\"direction\": \"{direction}\", \"class\": \"{class}\", \"author\": \"{author}\", \"message\": \"{message}\"}}\n"
        )
    }
}

const DIRECTIONS: [Direction; 2] = [Direction::Outgoing, Direction::Incoming];

/// What the reader objects to, for each question; all are asked in one process. `None`: there is no
/// Python here.
fn ask(questions: &[Question]) -> Option<Vec<String>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/email_reader.py");
    let child = Command::new("python3")
        .args(["-I", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        assert!(std::env::var_os("CI").is_none(), "python3 is not installed");
        eprintln!("left out: python3 is not installed");
        return None;
    };
    let mut stdin = child.stdin.take().expect("piped");
    let text: String = questions.iter().map(Question::json).collect();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("it ran");
    writer
        .join()
        .expect("no panic")
        .expect("it read everything");
    assert!(output.status.success(), "the reader failed");
    let answers = String::from_utf8(output.stdout).expect("UTF-8");
    let answers: Vec<String> = answers.lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), questions.len(), "one answer each");
    Some(answers)
}

/// Fails if the reader objects to one of these messages that passed.
fn assert_unreadable(questions: &[Question]) {
    let Some(answers) = ask(questions) else {
        return;
    };
    let objections: Vec<String> = questions
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| !answer.is_empty())
        .map(|(question, answer)| {
            let text = String::from_utf8_lossy(&question.message);
            format!("{:?}: {answer}\n{text}", question.direction)
        })
        .take(5)
        .collect();
    assert!(objections.is_empty(), "{}", objections.join("\n\n"));
}

#[test]
fn it_objects_to_half_of_the_messages_that_are_refused() {
    let refused = |row: &corpus::Row| matches!(row.expected, corpus::Expected::Refused(_));
    let questions: Vec<Question> = corpus::rows()
        .iter()
        .filter(|row| refused(row) && row.direction == "incoming")
        .map(|row| Question {
            direction: Direction::Incoming,
            class: Class::Encrypted,
            author: oracle::SENDER.to_owned(),
            message: row.message(),
        })
        .filter(|question| question.message.len() < 100_000)
        .collect();
    if let Some(answers) = ask(&questions) {
        let objections = answers.iter().filter(|answer| !answer.is_empty());
        let objections = objections.count();
        // What is left is in the packets, or looks sound to Python and not to other readers.
        assert!(
            objections * 2 > questions.len(),
            "{objections} of {}",
            questions.len()
        );
    }
}

#[test]
fn it_reads_nothing_in_messages_of_the_corpus_that_pass() {
    let mut questions = Vec::new();
    for row in corpus::rows() {
        let message = row.message();
        let direction = match row.direction.as_str() {
            "outgoing" => Direction::Outgoing,
            _ => Direction::Incoming,
        };
        questions.extend(Question::about(direction, &message));
    }
    assert!(questions.len() > 40, "{}", questions.len());
    assert_unreadable(&questions);
}

#[test]
fn it_reads_nothing_in_what_the_fuzzer_found_to_pass() {
    let messages = oracle::fuzz_corpus();
    let about = |message: &Vec<u8>| DIRECTIONS.map(|way| Question::about(way, message));
    let questions: Vec<Question> = messages.iter().flat_map(about).flatten().collect();
    assert!(questions.len() > 100, "{}", questions.len());
    assert_unreadable(&questions);
}

#[test]
fn it_reads_nothing_in_generated_messages_that_pass() {
    let mut runner = TestRunner::new(Config::default());
    let strategy = generate::messages();
    let mut questions = Vec::new();
    // As for other properties, `PROPTEST_CASES` asks for more.
    let asked = std::env::var("PROPTEST_CASES").ok();
    let cases = asked.and_then(|text| text.parse().ok()).unwrap_or(8_000);
    for _ in 0..cases {
        let message = strategy.new_tree(&mut runner).expect("a message").current();
        questions.extend(
            DIRECTIONS
                .iter()
                .filter_map(|&way| Question::about(way, &message)),
        );
    }
    assert!(questions.len() > 1_000, "{}", questions.len());
    assert_unreadable(&questions);
}
