//! fastjson's dialect, read leniently into a small tree, and JSON written compactly.
