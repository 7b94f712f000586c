//! `chatmail layout`.

use chatmail_relay::render::Layout;

use crate::exit::Failure;

pub(crate) fn run() -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(&Layout::default()).map_err(Failure::configuration)?;
    println!("{text}");
    Ok(())
}
