//! The spool of pending notifications and its retry schedule.
