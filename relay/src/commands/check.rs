//! `chatmail check`.

use chatmail_relay::check;

use crate::exit::{Exit, Failure};

pub(crate) fn run(arguments: &check::Arguments) -> Result<check::Ended, Failure> {
    let mut output = std::io::BufWriter::new(std::io::stdout().lock());
    check::run(arguments, &mut output).map_err(|stopped| match stopped {
        check::Stopped::Configuration(why) => Failure(Exit::Configuration, why),
        check::Stopped::Output(why) => Failure(Exit::CannotWrite, why.to_string()),
    })
}
