//! W3C Trace Context: `traceparent`, by which what happens here belongs to a trace that began elsewhere.

/// The way out of a text that is none.
pub const FORM: &str = "Write version-trace-span-flags, such as \
     00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.";

/// Says what is wrong with a `traceparent`, if anything is.
pub fn check(text: &str) -> Result<(), &'static str> {
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, span, flags] = parts[..] else {
        return Err("it must have four parts, joined by hyphens");
    };
    let all = [(version, 2), (trace, 32), (span, 16), (flags, 2)];
    if !all.iter().all(|(part, length)| part.len() == *length) {
        return Err("its parts must have 2, 32, 16 and 2 digits");
    }
    if !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-')) {
        return Err("its digits must be hexadecimal, in lower case");
    }
    if version != "00" {
        return Err("only version 00 is known");
    }
    if [trace, span].iter().any(|part| part.bytes().all(|b| b == b'0')) {
        return Err("neither the trace nor the span may be all zeros");
    }
    Ok(())
}

/// The trace of a `traceparent` that [`check`] accepts: 32 hexadecimal digits.
pub fn trace_id(traceparent: &str) -> Option<&str> {
    check(traceparent).ok().and(traceparent.get(3..35))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_standard_is_read() {
        assert_eq!(check(GOOD), Ok(()));
        assert_eq!(trace_id(GOOD), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let zeros = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let no_span = "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01";
        let hyphens = GOOD.replace("4bf92f35", "4bf9-f35");
        let upper = GOOD.to_ascii_uppercase();
        let newer = GOOD.replacen("00", "cc", 1);
        let long = format!("{GOOD}-00");
        for bad in ["", "x", zeros, no_span, &hyphens, &upper, &newer, &long, &GOOD[1..]] {
            assert!(check(bad).is_err(), "{bad}");
            assert_eq!(trace_id(bad), None, "{bad}");
        }
    }
}
