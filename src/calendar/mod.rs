//! Calendars: days and hours that many schedules leave out or keep to. `define` makes and changes
//! them, `known` gives them to the schedules that name them, `retime` lets tasks follow a change.

pub mod define;
pub mod known;
mod retime;
