//! Jobs, cohorts, agents.
