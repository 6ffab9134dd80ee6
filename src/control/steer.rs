//! Orders.

use std::sync::Arc;
use std::time::Duration;

use empire_actors::kernel::tree::Order;

use super::Control;
use super::problem::Problem;
use super::routes::Asked;
use super::shapes::{OrderAsked, OrderDone};

/// How long an order may take beside the time that it gives for draining: a supervisor stops its
/// children within their own deadlines first.
const SLACK: Duration = Duration::from_secs(60);
/// The longest drain.
const LONGEST_DRAIN: Duration = Duration::from_secs(3_600);
/// Characters of a reason.
pub(super) const LONGEST_REASON: usize = 500;

pub(super) async fn order(
    control: Arc<Control>,
    asked: Asked,
    body: OrderAsked,
) -> Result<OrderDone, Problem> {
    let OrderAsked { path, order, reason } = body;
    if order == Order::Crash && !control.chaos {
        let why = "drills are switched off: set `enabled = true` in [chaos] of empire.toml, and start again";
        return Err(Problem::forbidden("drills-off", why));
    }
    let drain = match order {
        Order::Restart { drain_ms: Some(ms) } | Order::Drain { within_ms: ms } => Duration::from_millis(ms),
        _ => Duration::ZERO,
    };
    if drain > LONGEST_DRAIN {
        return Err(Problem::bad("a drain takes an hour at most: give less, or pause it first"));
    }
    let reason = checked_reason(&reason)?;
    let path = match (control.resolve(Some(&path)), order) {
        // A pool is named as a whole; any of its actors scales it.
        (Err(unknown), Order::Scale { .. }) => {
            control.resolve(Some(&format!("{path}-0"))).map_err(|_| unknown)?
        }
        (resolved, _) => resolved?,
    };
    let (by, own) = (asked.peer.name(), control.clone());
    control
        .carry_out(drain, SLACK, async move {
            let outcome = own.tree.order(&path, order, &by, &reason).await?;
            let node = own.tree.view(&path, 0).ok();
            Ok(OrderDone { path, outcome, node })
        })
        .await
}

pub(super) fn checked_reason(reason: &str) -> Result<String, Problem> {
    if reason.chars().count() > LONGEST_REASON {
        return Err(Problem::bad(format!("a reason has at most {LONGEST_REASON} characters")));
    }
    Ok(crate::text::one_line(reason, LONGEST_REASON))
}
