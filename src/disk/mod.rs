//! Direct I/O behind one small surface; aligned buffers; the only folder that may need `unsafe`.
