//! What goes wrong on purpose: how often (the plan), when and to whom (the schedule), and what the calls of a
//! replica meet (its conditions).

mod conditions;
mod plan;
mod schedule;

pub(crate) use conditions::{Conditioned, Conditions};
pub(crate) use plan::{Plan, Service};
pub(crate) use schedule::{Event, Schedule, draw_resets};
