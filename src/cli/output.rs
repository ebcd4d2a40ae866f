//! Tables, JSON and colour: how results look.
