//! How many jobs and approvals there are in each state.

use empire_actors::ports::StoreError;
use sqlx::Row;

use super::error::{store_error, unreadable};
use super::{ApprovalState, JobState, Store};

/// Counts by state, zeros included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Jobs.
    pub jobs: Vec<(JobState, u64)>,
    /// Approvals.
    pub approvals: Vec<(ApprovalState, u64)>,
}

impl Store {
    /// Jobs and approvals by state.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn standing(&self) -> Result<Standing, StoreError> {
        let jobs = self.count("SELECT state, COUNT(*) AS count FROM jobs GROUP BY 1", None);
        // An approval that nobody answered in time is denied, whether that is written down or not.
        let approvals = self.count(
            "SELECT CASE WHEN state = 'pending' AND expires_at <= $1 THEN 'expired' ELSE state END AS state, \
             COUNT(*) AS count FROM approvals GROUP BY 1",
            Some(self.now().0),
        );
        let (jobs, approvals) = (jobs.await?, approvals.await?);
        let of = |counts: &[(String, u64)], word: &str| {
            counts.iter().find(|(known, _)| known == word).map_or(0, |(_, count)| *count)
        };
        Ok(Standing {
            jobs: JobState::ALL.into_iter().map(|state| (state, of(&jobs, state.as_str()))).collect(),
            approvals: ApprovalState::ALL
                .into_iter()
                .map(|state| (state, of(&approvals, state.as_str())))
                .collect(),
        })
    }

    async fn count(&self, query: &'static str, now: Option<i64>) -> Result<Vec<(String, u64)>, StoreError> {
        let query = sqlx::query(query);
        let query = if let Some(now) = now { query.bind(now) } else { query };
        let rows = query.fetch_all(self.readers()).await.map_err(store_error)?;
        let count = |row: sqlx::sqlite::SqliteRow| {
            let count: i64 = row.try_get("count")?;
            let count = u64::try_from(count).map_err(|_| unreadable(format_args!("count {count}")))?;
            Ok((row.try_get("state")?, count))
        };
        rows.into_iter().map(count).collect::<Result<_, sqlx::Error>>().map_err(store_error)
    }
}
