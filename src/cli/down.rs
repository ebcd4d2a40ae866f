//! `cedarwall down`: takes the wall down, on purpose and by hand.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use super::Error;
use crate::core::config::TableName;
use crate::host;
use crate::nft::{memory, protect};

/// Take the wall down: remove its table from the kernel
///
/// Stopping the daemon leaves the default drop in place, so that nothing opens
/// by accident. This is the one way to open it: afterwards the clients reach
/// whatever the host routes for them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  systemctl stop cedarwall && cedarwall down
  cedarwall down --table wall_2")]
pub(super) struct Arguments {
    /// The table's name
    #[arg(long, value_name = "NAME", default_value = "cedarwall", value_parser = table_name)]
    table: TableName,
    /// The control socket of the daemon, which has to be stopped first
    #[arg(long, value_name = "PATH", default_value = crate::core::config::DEFAULT_SOCKET)]
    socket: PathBuf,
}

pub(super) fn execute(arguments: &Arguments, out: &mut dyn Write) -> Result<ExitCode, Error> {
    if UnixStream::connect(&arguments.socket).is_ok() {
        let socket = arguments.socket.display();
        return Err(Error::said(format!(
            "the daemon still answers on {socket} and would put the table back; stop it first"
        )));
    }
    host::take_up_capabilities().map_err(|error| Error::said(error.to_string()))?;
    let table = arguments.table.as_str();
    protect::remove(&arguments.table).map_err(|error| Error::said(error.to_string()))?;
    memory::forget(&arguments.socket).map_err(|error| Error::said(error.to_string()))?;
    writeln!(out, "The wall is down: table {table} is gone, and its clients are no longer held back.")?;
    Ok(ExitCode::SUCCESS)
}

fn table_name(text: &str) -> Result<TableName, String> {
    TableName::parse(text).ok_or_else(|| "lower-case letters, digits and `_`, at most 31, a letter first".to_owned())
}
