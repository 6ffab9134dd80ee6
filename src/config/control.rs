//! `[control]` and `[chaos]`: how a running process is looked at and steered.

use std::net::SocketAddr;

use super::error::ConfigError;
use super::tree::Fields;

/// How a running process is looked at and steered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlSetting {
    /// Where it listens beside its socket: a loopback address.
    pub listen: Option<SocketAddr>,
    /// Whether actors may be made to fail.
    pub chaos: bool,
}

/// Reads the tables.
pub(super) fn control(root: &mut Fields) -> Result<ControlSetting, ConfigError> {
    let remedy = "write a loopback address and a port, like \"127.0.0.1:18790\", or \"none\"";
    let mut fields = root.need("control", "add [control] with listen = \"none\"")?.table()?;
    let field = fields.need("listen", remedy)?;
    let listen = if field.says_none() {
        None
    } else {
        let address: SocketAddr =
            field.text()?.parse().map_err(|_| field.invalid("is no address and port", remedy))?;
        if !address.ip().is_loopback() {
            return Err(field.invalid("can be reached from elsewhere", remedy));
        }
        Some(address)
    };
    fields.finish()?;
    let mut fields = root.need("chaos", "add [chaos] with enabled = false")?.table()?;
    let chaos = fields.need("enabled", "write true or false")?.flag()?;
    fields.finish()?;
    Ok(ControlSetting { listen, chaos })
}
