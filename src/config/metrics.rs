//! `[metrics]`: where metrics are served.

use std::net::SocketAddr;

use super::error::ConfigError;
use super::tree::Fields;

/// Where metrics are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsSetting {
    /// An address of this machine; none if nothing is measured.
    pub listen: Option<SocketAddr>,
}

/// Reads the table.
pub(super) fn metrics(root: &mut Fields) -> Result<MetricsSetting, ConfigError> {
    const EXAMPLE: &str = "write an address and a port, like \"127.0.0.1:9464\", or \"none\"";
    let mut fields = root.need("metrics", "add [metrics] with listen = \"127.0.0.1:9464\"")?.table()?;
    let field = fields.need("listen", EXAMPLE)?;
    fields.finish()?;
    if field.says_none() {
        return Ok(MetricsSetting { listen: None });
    }
    let text = field.text()?;
    let listen: SocketAddr = text
        .parse()
        .map_err(|_| field.invalid(format_args!("is {text:?}, which is no address with a port"), EXAMPLE))?;
    if !listen.ip().is_loopback() {
        let remedy = "metrics are served to this machine only: use 127.0.0.1 or [::1]; to read them from \
                      elsewhere, run Prometheus here or forward the port over SSH";
        return Err(field.invalid(format_args!("is {text:?}, an address that others can reach"), remedy));
    }
    Ok(MetricsSetting { listen: Some(listen) })
}
