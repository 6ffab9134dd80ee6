//! Finds passages of legal documents.
