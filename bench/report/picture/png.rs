//! A drawing as pixels, with fonts that are part of this program: a new machine has none.

use std::sync::Arc;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use super::svg::Drawing;

/// Pixels of a px, so that letters are sharp on today's screens.
const SCALE: f32 = 2.0;

/// Noto Sans, letters of western languages; `font/README.md` says how it was made. Letters of other scripts are empty boxes in PNG files;
/// SVG and HTML have all that the reader's machine has.
const FONTS: [&[u8]; 2] = [include_bytes!("../font/NotoSans-Regular.ttf"), include_bytes!("../font/NotoSans-Bold.ttf")];

/// Why a drawing has no pixels.
#[derive(Debug, thiserror::Error)]
#[error("a picture does not become PNG: {0}")]
pub struct PngError(String);

/// The bytes of a PNG file, light theme, [`SCALE`] pixels a px.
///
/// # Errors
/// When it is too large for memory.
pub fn png(drawing: &Drawing, title: &str) -> Result<Vec<u8>, PngError> {
    let mut fonts = fontdb::Database::new();
    FONTS.iter().for_each(|font| fonts.load_font_data(font.to_vec()));
    fonts.set_sans_serif_family("Noto Sans");
    let options = Options { fontdb: Arc::new(fonts), font_family: "Noto Sans".to_owned(), ..Options::default() };
    let tree = Tree::from_str(&drawing.file(title, false), &options).map_err(|error| PngError(error.to_string()))?;
    let size = tree.size().to_int_size().scale_by(SCALE).ok_or_else(|| PngError("its size is zero".to_owned()))?;
    let mut pixels = Pixmap::new(size.width(), size.height()).ok_or_else(|| PngError("it is too large".to_owned()))?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| PngError(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::svg::{Anchor, Ink};
    use super::*;

    #[test]
    fn text_is_drawn_without_fonts_of_the_system() {
        let mut drawing = Drawing::new(100.0, 20.0);
        drawing.text(2.0, 15.0, Anchor::Start, Ink::Ink, "1,234 µs ± 5 %");
        let bytes = png(&drawing, "text").expect("small");
        let pixels = Pixmap::decode_png(&bytes).expect("a PNG file");
        assert_eq!((pixels.width(), pixels.height()), (200, 40));
        let dark = pixels.pixels().iter().filter(|pixel| pixel.red() < 100).count();
        assert!(dark > 300, "{dark} dark pixels");
    }
}
