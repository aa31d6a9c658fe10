//! Rows as JSON, letter for letter as row_to_json writes them, without forming the row and looking
//! up each column's type anew: that took a third of what a match cost.

use automate_core::jsonb::{self, Builder};
use pgrx::prelude::*;
use std::ffi::{CStr, CString, c_char};
use std::fmt::Write;

/// How the rows of a table are written.
pub struct RowWriter {
    fields: Vec<Field>,
    /// The fields in the order of jsonb.
    sorted: Vec<usize>,
}

struct Field {
    /// From 1.
    number: i16,
    name: String,
    /// The name as a key, with what stands around it.
    key: String,
    form: Form,
    is_varlena: bool,
}

/// How the values of a type are written.
enum Form {
    Bool,
    Int2,
    Int4,
    Int8,
    Text,
    /// A type with a JSON form of its own, and its OID.
    Time(pg_sys::Oid),
    /// What the type's output function says, in quotes unless it is a number.
    Number(Box<pg_sys::FmgrInfo>),
    Other(Box<pg_sys::FmgrInfo>),
}

impl RowWriter {
    /// A writer for the columns that are wanted of rows of this form, or None if there are some
    /// among them that are left to row_to_json.
    ///
    /// # Safety
    /// The descriptor is that of a relation; the context lives as long as the writer.
    pub unsafe fn of(
        descriptor: pg_sys::TupleDesc,
        context: pg_sys::MemoryContext,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Option<RowWriter> {
        // SAFETY: the descriptor has so many attributes, whose names are C strings.
        let attributes = unsafe { (*descriptor).attrs.as_slice((*descriptor).natts as usize) };
        let mut fields = Vec::with_capacity(attributes.len());
        for (attribute, number) in attributes.iter().zip(1..) {
            if attribute.attisdropped {
                continue;
            }
            // SAFETY: as above.
            let name = unsafe { CStr::from_ptr(attribute.attname.data.as_ptr()).to_string_lossy() };
            if !is_wanted(&name) {
                continue;
            }
            // SAFETY: the type is that of a column.
            let form = unsafe { form_of(attribute.atttypid, context)? };
            let lead = if fields.is_empty() { '{' } else { ',' };
            let key = format!("{lead}{}:", serde_json::Value::from(&*name));
            let (name, is_varlena) = (name.into_owned(), attribute.attlen == -1);
            fields.push(Field { number, name, key, form, is_varlena });
        }
        let mut sorted: Vec<usize> = (0..fields.len()).collect();
        sorted.sort_unstable_by(|a, b| jsonb::key_order(&fields[*a].name, &fields[*b].name));
        Some(RowWriter { fields, sorted })
    }

    /// The row of a slot as the inside of a jsonb value, the same as that of its text.
    ///
    /// # Safety
    /// As for [`RowWriter::write`].
    pub unsafe fn write_jsonb(&self, slot: *mut pg_sys::TupleTableSlot) -> Vec<u8> {
        let mut object = Builder::with_capacity(2 * self.fields.len(), 48 * self.fields.len());
        let fields = || self.sorted.iter().map(|number| &self.fields[*number]);
        fields().for_each(|field| object.text(field.name.as_bytes()));
        // SAFETY: as in `write`.
        unsafe {
            self.deform(slot);
            for field in fields() {
                let at = field.number as usize - 1;
                match *(*slot).tts_isnull.add(at) {
                    true => object.null(),
                    false => field.form.add(*(*slot).tts_values.add(at), &mut object),
                }
            }
        }
        object.object()
    }

    /// Bytes of the columns of variable length when nothing is compressed.
    ///
    /// # Safety
    /// As for [`RowWriter::write`].
    pub unsafe fn raw_size(&self, slot: *mut pg_sys::TupleTableSlot) -> usize {
        // SAFETY: as in `write`; these columns are varlenas.
        unsafe {
            self.deform(slot);
            let places = self.fields.iter().filter(|field| field.is_varlena);
            let places = places.map(|field| field.number as usize - 1);
            places
                .filter(|at| !*(*slot).tts_isnull.add(*at))
                .map(|at| raw_datum_size(*(*slot).tts_values.add(at)))
                .sum()
        }
    }

    unsafe fn deform(&self, slot: *mut pg_sys::TupleTableSlot) {
        // SAFETY: the row has so many columns.
        unsafe {
            let last = self.fields.last().map_or(0, |field| field.number);
            if (*slot).tts_nvalid < last {
                pg_sys::slot_getsomeattrs_int(slot, i32::from(last));
            }
        }
    }

    /// The row of a slot.
    ///
    /// # Safety
    /// The slot holds a row of the form that the writer was made for.
    pub unsafe fn write(&self, slot: *mut pg_sys::TupleTableSlot) -> String {
        if self.fields.is_empty() {
            return "{}".into();
        }
        // SAFETY: after deforming, the arrays have an entry for each column.
        unsafe {
            self.deform(slot);
            let mut text = String::with_capacity(self.fields.len() * 32);
            for field in &self.fields {
                text.push_str(&field.key);
                let at = field.number as usize - 1;
                if *(*slot).tts_isnull.add(at) {
                    text.push_str("null");
                } else {
                    field.form.write(*(*slot).tts_values.add(at), &mut text);
                }
            }
            text.push('}');
            text
        }
    }
}

/// Only values that are stored elsewhere or compressed need a call to learn their size.
///
/// # Safety
/// The datum is a varlena.
pub unsafe fn raw_datum_size(datum: pg_sys::Datum) -> usize {
    // SAFETY: the caller passes a varlena.
    unsafe {
        let value = datum.cast_mut_ptr::<pg_sys::varlena>().cast_const();
        if pgrx::varlena::varatt_is_1b_e(value) || pgrx::varlena::varatt_is_4b_c(value) {
            pg_sys::toast_raw_datum_size(datum)
        } else {
            pgrx::varlena::varsize_any(value)
        }
    }
}

/// How a type's values are written; None for those whose JSON is made of parts, or may be somebody's
/// function.
unsafe fn form_of(oid: pg_sys::Oid, context: pg_sys::MemoryContext) -> Option<Form> {
    const FIRST_NORMAL_OID: u32 = 16_384;
    let output = || {
        let (mut function, mut is_varlena) = (pg_sys::InvalidOid, false);
        let mut ready = Box::new(pg_sys::FmgrInfo::default());
        // SAFETY: a type that exists has an output function.
        unsafe {
            pg_sys::getTypeOutputInfo(oid, &mut function, &mut is_varlena);
            pg_sys::fmgr_info_cxt(function, &mut *ready, context);
        }
        ready
    };
    match oid {
        pg_sys::BOOLOID => Some(Form::Bool),
        pg_sys::INT2OID => Some(Form::Int2),
        pg_sys::INT4OID => Some(Form::Int4),
        pg_sys::INT8OID => Some(Form::Int8),
        pg_sys::TEXTOID | pg_sys::VARCHAROID | pg_sys::BPCHAROID => Some(Form::Text),
        pg_sys::DATEOID | pg_sys::TIMESTAMPOID | pg_sys::TIMESTAMPTZOID => Some(Form::Time(oid)),
        pg_sys::FLOAT4OID | pg_sys::FLOAT8OID | pg_sys::NUMERICOID => Some(Form::Number(output())),
        pg_sys::JSONOID | pg_sys::JSONBOID => None,
        _ => {
            // SAFETY: look-ups in the catalog.
            let is_made_of_parts = unsafe {
                oid.to_u32() >= FIRST_NORMAL_OID
                    || pg_sys::type_is_rowtype(oid)
                    || pg_sys::get_element_type(oid) != pg_sys::InvalidOid
            };
            (!is_made_of_parts).then(|| Form::Other(output()))
        }
    }
}

impl Form {
    /// Adds a value to an object of jsonb.
    unsafe fn add(&self, datum: pg_sys::Datum, object: &mut Builder) {
        let mut integer = |value: i64| object.integer(value < 0, value.unsigned_abs());
        // SAFETY: the datum is not NULL and of a type of this form.
        unsafe {
            match self {
                Form::Bool => object.bool(datum.value() & 0xFF != 0),
                Form::Int2 => integer(i64::from(datum.value() as i16)),
                Form::Int4 => integer(i64::from(datum.value() as i32)),
                Form::Int8 => integer(datum.value() as i64),
                Form::Text => object.text(text_bytes(datum)),
                Form::Time(oid) => {
                    let mut buffer = [0 as c_char; LONGEST];
                    object.text(time(&mut buffer, datum, *oid));
                }
                Form::Number(output) => {
                    let said = said(output, datum);
                    match is_number(said) {
                        true => object.numeric(&numeric(said)),
                        false => object.text(said),
                    }
                }
                Form::Other(output) => object.text(said(output, datum)),
            }
        }
    }

    unsafe fn write(&self, datum: pg_sys::Datum, text: &mut String) {
        // Writing to a String cannot fail.
        let mut number = |value: i64| {
            let _ = write!(text, "{value}");
        };
        // SAFETY: the datum is not NULL and of a type of this form.
        unsafe {
            match self {
                Form::Bool => {
                    text.push_str(if datum.value() & 0xFF != 0 { "true" } else { "false" })
                }
                Form::Int2 => number(i64::from(datum.value() as i16)),
                Form::Int4 => number(i64::from(datum.value() as i32)),
                Form::Int8 => number(datum.value() as i64),
                Form::Text => escape(text_bytes(datum), text),
                Form::Time(oid) => {
                    let mut buffer = [0 as c_char; LONGEST];
                    escape(time(&mut buffer, datum, *oid), text);
                }
                Form::Number(output) => {
                    let said = said(output, datum);
                    match is_number(said) {
                        true => text.push_str(&String::from_utf8_lossy(said)),
                        false => escape(said, text),
                    }
                }
                Form::Other(output) => escape(said(output, datum), text),
            }
        }
    }
}

/// What an output function says, in the current memory context.
unsafe fn said<'a>(output: &pg_sys::FmgrInfo, datum: pg_sys::Datum) -> &'a [u8] {
    // SAFETY: the function is of the value's type; the function's frame is not kept.
    unsafe {
        let function = std::ptr::from_ref(output).cast_mut();
        CStr::from_ptr(pg_sys::OutputFunctionCall(function, datum)).to_bytes()
    }
}

/// The bytes of a text, in the current memory context if it was stored in another form.
unsafe fn text_bytes<'a>(datum: pg_sys::Datum) -> &'a [u8] {
    // SAFETY: the caller passes a varlena.
    unsafe {
        let value = pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr());
        let length = pgrx::varlena::varsize_any_exhdr(value);
        std::slice::from_raw_parts(pgrx::varlena::vardata_any(value).cast(), length)
    }
}

/// PostgreSQL's MAXDATELEN and the end.
const LONGEST: usize = 129;

/// A date or a time as JSON has it.
unsafe fn time(buffer: &mut [c_char; LONGEST], datum: pg_sys::Datum, oid: pg_sys::Oid) -> &[u8] {
    // SAFETY: the buffer is as long as PostgreSQL wants it.
    unsafe {
        let no_zone = std::ptr::null();
        let written = pg_sys::JsonEncodeDateTime(buffer.as_mut_ptr(), datum, oid, no_zone);
        CStr::from_ptr(written).to_bytes()
    }
}

/// NaN and the infinities are texts in JSON.
fn is_number(said: &[u8]) -> bool {
    said.strip_prefix(b"-").unwrap_or(said).first().is_some_and(u8::is_ascii_digit)
}

/// A number as PostgreSQL's parser of jsonb makes it.
unsafe fn numeric(digits: &[u8]) -> Vec<u8> {
    let text = CString::new(digits).unwrap_or_default();
    // SAFETY: numeric_in reads a C string, and answers a varlena with a long header.
    unsafe {
        let made = pgrx::direct_function_call_as_datum(
            pg_sys::numeric_in,
            &[
                Some(pg_sys::Datum::from(text.as_ptr())),
                Some(pg_sys::Datum::from(pg_sys::InvalidOid)),
                Some(pg_sys::Datum::from(-1i32)),
            ],
        );
        let Some(made) = made else { return Vec::new() };
        let value = made.cast_mut_ptr::<pg_sys::varlena>();
        std::slice::from_raw_parts(value.cast(), pgrx::varlena::varsize_any(value)).to_vec()
    }
}

/// Writes a JSON string as PostgreSQL escapes it.
fn escape(bytes: &[u8], text: &mut String) {
    text.push('"');
    let mut rest = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escaped = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            0x08 => "\\b",
            0x0C => "\\f",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        text.push_str(&String::from_utf8_lossy(&bytes[rest..at]));
        match escaped {
            "" => {
                let _ = write!(text, "\\u{byte:04x}");
            }
            escaped => text.push_str(escaped),
        }
        rest = at + 1;
    }
    text.push_str(&String::from_utf8_lossy(&bytes[rest..]));
    text.push('"');
}
