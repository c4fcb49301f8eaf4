//! Where each participant stands on the canvas. Pure arithmetic.

/// A rectangle in pixels of the canvas. Position and size are even, as 4:2:0 pictures need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rect {
    /// Left edge.
    pub x: i32,
    /// Top edge.
    pub y: i32,
    /// Width.
    pub width: i32,
    /// Height.
    pub height: i32,
}

/// The size of a picture in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Width, even.
    pub width: i32,
    /// Height, even.
    pub height: i32,
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// How many faces are still recognisable side by side; the others are heard.
const GRID: usize = 12;

/// How participants share the canvas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// Up to twelve, all alike, row by row; one participant fills the canvas.
    #[default]
    Grid,
    /// The first participant large, the others in a column at the right.
    Speaker,
    /// Only the first participant.
    Single,
}

impl Layout {
    /// The place of each of `count` participants, in the order in which they came. Participants beyond the layout's
    /// capacity have no place.
    pub fn arrange(self, canvas: Size, count: usize) -> Vec<Rect> {
        let whole = Rect { x: 0, y: 0, width: canvas.width, height: canvas.height };
        match (self, count) {
            (_, 0) => Vec::new(),
            (_, 1) | (Self::Single, _) => vec![whole],
            (Self::Grid, _) => grid(canvas, count.min(GRID)),
            (Self::Speaker, _) => speaker(canvas, count),
        }
    }
}

/// The smallest square-ish grid that holds everybody; a last row that is not full stands in the middle.
fn grid(canvas: Size, count: usize) -> Vec<Rect> {
    let columns = (1..).find(|columns| columns * columns >= count).unwrap_or(1);
    let rows = count.div_ceil(columns);
    let (width, height) = (even(canvas.width / as_i32(columns)), even(canvas.height / as_i32(rows)));
    let top = even((canvas.height - height * as_i32(rows)) / 2);
    (0..count)
        .map(|index| {
            let (row, column) = (index / columns, index % columns);
            let in_row = columns.min(count - row * columns);
            let left = even((canvas.width - width * as_i32(in_row)) / 2);
            Rect { x: left + width * as_i32(column), y: top + height * as_i32(row), width, height }
        })
        .collect()
}

fn speaker(canvas: Size, count: usize) -> Vec<Rect> {
    let others = count - 1;
    // A fifth of the width keeps a face recognisable; more people make smaller cells, never a wider column.
    let column = even(canvas.width / 5);
    let height = even((canvas.height / as_i32(others)).min(column * canvas.height / canvas.width));
    let top = even((canvas.height - height * as_i32(others)) / 2);
    let large = Rect { x: 0, y: 0, width: canvas.width - column, height: canvas.height };
    let small = (0..others).map(|index| Rect {
        x: canvas.width - column,
        y: top + height * as_i32(index),
        width: column,
        height,
    });
    std::iter::once(large).chain(small).collect()
}

fn even(length: i32) -> i32 {
    length & !1
}

fn as_i32(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANVAS: Size = Size { width: 1280, height: 720 };

    #[test]
    fn one_participant_fills_the_canvas_in_every_layout() {
        for layout in [Layout::Grid, Layout::Speaker, Layout::Single] {
            assert_eq!(layout.arrange(CANVAS, 1), [Rect { x: 0, y: 0, width: 1280, height: 720 }], "{layout:?}");
        }
    }

    #[test]
    fn three_in_a_grid_stand_two_above_one() {
        let places = Layout::Grid.arrange(CANVAS, 3);
        assert_eq!(
            places,
            [
                Rect { x: 0, y: 0, width: 640, height: 360 },
                Rect { x: 640, y: 0, width: 640, height: 360 },
                Rect { x: 320, y: 360, width: 640, height: 360 },
            ]
        );
    }

    #[test]
    fn nobody_overlaps_and_everybody_stays_on_the_canvas() {
        for layout in [Layout::Grid, Layout::Speaker] {
            for count in 1..=50 {
                let places = layout.arrange(CANVAS, count);
                assert_eq!(places.len(), count, "{layout:?} {count}");
                for (index, a) in places.iter().enumerate() {
                    assert!(a.x >= 0 && a.y >= 0 && a.width > 0 && a.height > 0, "{layout:?} {count} {a:?}");
                    assert!(a.x + a.width <= 1280 && a.y + a.height <= 720, "{layout:?} {count} {a:?}");
                    assert_eq!((a.x | a.y | a.width | a.height) & 1, 0, "even: {a:?}");
                    for b in &places[index + 1..] {
                        let apart = a.x + a.width <= b.x
                            || b.x + b.width <= a.x
                            || a.y + a.height <= b.y
                            || b.y + b.height <= a.y;
                        assert!(apart, "{layout:?} {count}: {a:?} and {b:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_empty_room_has_no_places() {
        assert!(Layout::Grid.arrange(CANVAS, 0).is_empty());
    }
}
