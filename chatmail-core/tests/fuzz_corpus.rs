//! What the fuzz target `message` has collected is examined again, without a fuzzer; and so is the
//! corpus.

#[path = "corpus/mod.rs"]
mod corpus;
mod oracle;

#[test]
fn no_message_of_the_fuzzer_gets_a_wrong_verdict() {
    let messages = oracle::fuzz_corpus();
    let passed = messages.iter().filter(|message| oracle::examine(message));
    let passed = passed.count();
    assert!(messages.len() > 300, "{} messages", messages.len());
    assert!(passed > 50 && passed < messages.len(), "{passed} pass");
}

#[test]
fn other_readers_agree_with_the_verdicts_of_the_corpus() {
    for row in corpus::rows() {
        let message = row.message();
        if message.len() < 100_000 {
            oracle::examine(&message);
        }
    }
}
