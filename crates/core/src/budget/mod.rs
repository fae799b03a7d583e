//! How many tries beside the first there may be.

mod config;
mod counter;

pub use config::{BudgetConfig, InvalidBudget};
pub use counter::{Budget, Deposits};
