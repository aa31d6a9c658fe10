//! Random expressions from a seed, so that a failure can be repeated.

pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % u64::from(limit)) as u32
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u32) as usize]
    }

    /// Values, ranges and steps; `star` of ten times "*" or a step of it.
    pub(super) fn field(&mut self, min: u32, max: u32, star: u32) -> String {
        if self.below(10) < star {
            return if self.below(3) == 0 {
                format!("*/{}", 1 + self.below(max))
            } else {
                "*".into()
            };
        }
        self.list(|random| random.part(min, max))
    }

    /// The day of month, with all that it may hold.
    pub(super) fn dates(&mut self) -> String {
        if self.below(3) == 0 {
            return self.field(1, 31, 6);
        }
        self.list(|random| match random.below(8) {
            0 => "L".into(),
            1 => "LW".into(),
            2 => format!("L-{}", random.below(31)),
            3 | 4 => format!("{}W", 1 + random.below(31)),
            _ => random.part(1, 31),
        })
    }

    /// The day of week, with all that it may hold.
    pub(super) fn weekdays(&mut self) -> String {
        if self.below(3) == 0 {
            return self.field(0, 7, 8);
        }
        self.list(|random| match random.below(5) {
            0 => format!("{}L", random.below(8)),
            1 | 2 => format!("{}#{}", random.below(8), 1 + random.below(5)),
            _ => random.part(0, 7),
        })
    }

    fn list(&mut self, part: impl Fn(&mut Random) -> String) -> String {
        let parts: Vec<String> = (0..=self.below(3)).map(|_| part(self)).collect();
        parts.join(",")
    }

    fn part(&mut self, min: u32, max: u32) -> String {
        let low = min + self.below(max - min + 1);
        let high = low + self.below(max - low + 1);
        match self.below(4) {
            0 => format!("{low}-{high}"),
            1 => format!("{low}-{high}/{}", 1 + self.below(5)),
            _ => low.to_string(),
        }
    }
}
