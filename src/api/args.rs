//! Arguments of a SQL call, read with our own limits and errors.

use crate::error::{Error, Result};
use automate_core::workflow::build::iso_duration;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::prelude::*;
use serde_json::Value;
use std::ffi::{CStr, CString};
use uuid::Uuid;

/// Most bytes of a document of many definitions.
const MAX_DOCUMENT: usize = 64 << 20;

/// What a function answers.
pub enum Answer {
    Null,
    BigInt(i64),
    Bool(bool),
    Bytes(Vec<u8>),
    Int(i32),
    Json(Value),
    /// The text of a jsonb, of which no digit is lost.
    Jsonb(String),
    Text(String),
    Uuid(Uuid),
    Void,
}

/// The call frame.
pub struct Args(pg_sys::FunctionCallInfo);

impl Args {
    /// # Safety
    /// `fcinfo` is the frame of the running call.
    pub unsafe fn of(fcinfo: pg_sys::FunctionCallInfo) -> Args {
        Args(fcinfo)
    }

    fn value<T: FromDatum>(&self, index: usize) -> Option<T> {
        // SAFETY: the frame is valid, and the SQL declaration fixes number and types.
        unsafe {
            let frame = &*self.0;
            if index >= frame.nargs as usize {
                return None;
            }
            let arg = &frame.args.as_slice(frame.nargs as usize)[index];
            T::from_datum(arg.value, arg.isnull)
        }
    }

    /// Bytes of a text or jsonb as it was given; 0 for NULL.
    pub fn size(&self, index: usize) -> usize {
        // SAFETY: the frame is valid, and the callers name arguments of variable length.
        unsafe {
            let frame = &*self.0;
            match frame.args.as_slice(frame.nargs as usize).get(index) {
                Some(arg) if !arg.isnull => pg_sys::toast_raw_datum_size(arg.value),
                _ => 0,
            }
        }
    }

    /// A text that must be given.
    pub fn text(&self, index: usize, name: &str) -> Result<String> {
        self.opt_text(index).ok_or_else(|| self.missing(index, name))
    }

    pub fn opt_text(&self, index: usize) -> Option<String> {
        self.value::<String>(index)
    }

    pub fn int(&self, index: usize, default: i32) -> i32 {
        self.value::<i32>(index).unwrap_or(default)
    }

    pub fn opt_int(&self, index: usize) -> Option<i32> {
        self.value::<i32>(index)
    }

    /// An integer that must be given.
    pub fn need_int(&self, index: usize, name: &str) -> Result<i32> {
        self.opt_int(index).ok_or_else(|| self.missing(index, name))
    }

    /// A double precision number.
    pub fn opt_number(&self, index: usize) -> Option<f64> {
        self.value::<f64>(index)
    }

    pub fn opt_bigint(&self, index: usize) -> Option<i64> {
        self.value::<i64>(index)
    }

    pub fn bool(&self, index: usize, default: bool) -> bool {
        self.opt_bool(index).unwrap_or(default)
    }

    pub fn opt_bool(&self, index: usize) -> Option<bool> {
        self.value::<bool>(index)
    }

    pub fn oid(&self, index: usize) -> Option<pg_sys::Oid> {
        self.value::<pg_sys::Oid>(index)
    }

    /// An OID that must be given.
    pub fn need_oid(&self, index: usize, name: &str) -> Result<pg_sys::Oid> {
        self.oid(index).ok_or_else(|| self.missing(index, name))
    }

    pub fn uuid(&self, index: usize, name: &str) -> Result<Uuid> {
        self.value::<pgrx::Uuid>(index)
            .map(|u| Uuid::from_bytes(*u.as_bytes()))
            .ok_or_else(|| self.missing(index, name))
    }

    pub fn timestamp(&self, index: usize) -> Option<TimestampWithTimeZone> {
        self.value::<TimestampWithTimeZone>(index)
    }

    /// An instant that must be given.
    pub fn need_timestamp(&self, index: usize, name: &str) -> Result<TimestampWithTimeZone> {
        self.timestamp(index).ok_or_else(|| self.missing(index, name))
    }

    /// An interval as workflows write it: ISO 8601, without months, which have no fixed length.
    pub fn iso_duration(&self, index: usize, name: &str) -> Result<Option<String>> {
        let Some(i) = self.value::<Interval>(index) else { return Ok(None) };
        iso_duration(i.months(), i.days(), i.micros()).map(Some).map_err(|(message, hint)| {
            Error::invalid(format!("{name}: {message}"))
                .with_detail(self.place(index))
                .with_hint(hint)
        })
    }

    /// An interval as milliseconds; months count 30 days, as in PostgreSQL's EXTRACT(epoch).
    pub fn interval_ms(&self, index: usize, name: &str) -> Result<Option<i32>> {
        let Some(interval) = self.value::<Interval>(index) else { return Ok(None) };
        let days = i64::from(interval.months()) * 30 + i64::from(interval.days());
        let ms = days * 86_400_000 + interval.micros() / 1000;
        match i32::try_from(ms) {
            Ok(ms) if ms > 0 => Ok(Some(ms)),
            _ => Err(Error::invalid(format!("{name} must be more than 0 and less than 24 days"))
                .with_detail(format!("{} It has {ms} milliseconds.", self.place(index)))
                .with_hint("Give for example interval '5 minutes', or leave it out.")),
        }
    }

    /// An interval that may be 0, as milliseconds.
    pub fn pause_ms(&self, index: usize, name: &str, default: i64) -> Result<i64> {
        let Some(interval) = self.value::<Interval>(index) else { return Ok(default) };
        let days = i64::from(interval.months()) * 30 + i64::from(interval.days());
        let ms = days * 86_400_000 + interval.micros() / 1000;
        if (0..=366 * 86_400_000).contains(&ms) {
            return Ok(ms);
        }
        Err(Error::invalid(format!("{name} must be 0 to 366 days"))
            .with_detail(format!("{} It has {ms} milliseconds.", self.place(index)))
            .with_hint("Give for example interval '30 seconds', or leave it out."))
    }

    /// A text array; NULL members are refused.
    pub fn opt_texts(&self, index: usize, name: &str) -> Result<Option<Vec<String>>> {
        self.opt_array(index, name)
    }

    /// A uuid array; NULL members are refused.
    pub fn opt_uuids(&self, index: usize, name: &str) -> Result<Option<Vec<Uuid>>> {
        let ids = self.opt_array::<pgrx::Uuid>(index, name)?;
        Ok(ids.map(|ids| ids.iter().map(|id| Uuid::from_bytes(*id.as_bytes())).collect()))
    }

    /// A jsonb array within the limit on size; NULL members are refused.
    pub fn jsons(&self, index: usize, name: &str) -> Result<Option<Vec<Value>>> {
        let (size, limit) = (self.size(index), crate::guc::max_payload_bytes());
        if size > limit {
            return Err(Error::refused(
                PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                format!("{name} must not have more than {limit} bytes"),
            )
            .with_detail(format!("{} It has {size} bytes.", self.place(index)))
            .with_hint("automate.max_payload_bytes is the limit."));
        }
        let members = self.opt_array::<pgrx::JsonB>(index, name)?;
        Ok(members.map(|members| members.into_iter().map(|m| m.0).collect()))
    }

    fn opt_array<T>(&self, index: usize, name: &str) -> Result<Option<Vec<T>>>
    where
        Vec<Option<T>>: FromDatum,
    {
        let Some(items) = self.value::<Vec<Option<T>>>(index) else { return Ok(None) };
        let count = items.len();
        let members: Vec<T> = items.into_iter().flatten().collect();
        if members.len() < count {
            return Err(Error::refused(
                PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
                format!("{name} must not contain NULL"),
            )
            .with_detail(format!(
                "{} Of its {count} members, {} are NULL.",
                self.place(index),
                count - members.len()
            ))
            .with_hint("array_remove(..., NULL) leaves them out."));
        }
        Ok(Some(members))
    }

    /// A jsonb that must be given, within the limits on size and depth.
    pub fn json(&self, index: usize, name: &str) -> Result<Value> {
        self.opt_json(index, name)?.ok_or_else(|| self.missing(index, name))
    }

    pub fn opt_json(&self, index: usize, name: &str) -> Result<Option<Value>> {
        let Some(text) = self.json_text(index) else { return Ok(None) };
        self.parse(index, name, &text, crate::guc::max_payload_bytes()).map(Some)
    }

    /// A jsonb that must be given and holds many definitions, and its text.
    pub fn document(&self, index: usize, name: &str) -> Result<(Value, String)> {
        let text = self.json_text(index).ok_or_else(|| self.missing(index, name))?;
        Ok((self.parse(index, name, &text, MAX_DOCUMENT)?, text))
    }

    fn parse(&self, index: usize, name: &str, text: &str, limit: usize) -> Result<Value> {
        parse_json(text, name, limit)
            .map_err(|e| e.or_detail(format!("{} It has {} bytes.", self.place(index), text.len())))
    }

    /// A jsonb as its text.
    pub fn json_text(&self, index: usize) -> Option<String> {
        // SAFETY: the argument is declared jsonb, which jsonb_out prints.
        unsafe {
            let frame = &*self.0;
            let arg = frame.args.as_slice(frame.nargs as usize).get(index)?;
            if arg.isnull {
                return None;
            }
            let text = pgrx::direct_function_call::<&CStr>(pg_sys::jsonb_out, &[Some(arg.value)])?;
            Some(text.to_string_lossy().into_owned())
        }
    }

    /// Which argument of which function, as a sentence.
    fn place(&self, index: usize) -> String {
        // SAFETY: the frame is valid, and names the function that was called; the name is copied.
        let name = unsafe {
            let name = pg_sys::get_func_name((*(*self.0).flinfo).fn_oid);
            if name.is_null() {
                String::new()
            } else {
                CStr::from_ptr(name).to_string_lossy().into_owned()
            }
        };
        // A shell in SQL calls x_json for x, with the same arguments.
        let name = name.trim_end_matches("_json");
        format!("It is argument {} of automate.{name}.", index + 1)
    }

    pub fn missing(&self, index: usize, name: &str) -> Error {
        Error::refused(
            PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            format!("{name} must not be NULL"),
        )
        .with_detail(self.place(index))
        .with_hint(format!("Give a value for it: {name} => '...'."))
    }

    /// Hands the answer to PostgreSQL.
    pub fn answer(&self, answer: Answer) -> pg_sys::Datum {
        let datum = match answer {
            Answer::Null => None,
            Answer::Void => Some(pg_sys::Datum::from(0)),
            Answer::BigInt(v) => v.into_datum(),
            Answer::Bool(v) => v.into_datum(),
            Answer::Bytes(v) => v.into_datum(),
            Answer::Int(v) => v.into_datum(),
            Answer::Json(v) => pgrx::JsonB(v).into_datum(),
            Answer::Jsonb(text) => jsonb(text),
            Answer::Text(v) => v.into_datum(),
            Answer::Uuid(v) => pgrx::Uuid::from_bytes(*v.as_bytes()).into_datum(),
        };
        // SAFETY: the frame is valid for the length of the call.
        unsafe { (*self.0).isnull = datum.is_none() };
        datum.unwrap_or(pg_sys::Datum::from(0))
    }
}

fn jsonb(text: String) -> Option<pg_sys::Datum> {
    let text = CString::new(text).unwrap_or_default();
    // SAFETY: jsonb_in reads a C string and answers a palloc'd datum.
    unsafe {
        pgrx::direct_function_call_as_datum(
            pg_sys::jsonb_in,
            &[Some(pg_sys::Datum::from(text.as_ptr()))],
        )
    }
}

/// Reads JSON from outside within the limits of size and depth.
pub fn parse_json(text: &str, name: &str, limit: usize) -> Result<Value> {
    let refuse = |code, reason: String, hint: &str| {
        Error::refused(code, format!("{name} is not acceptable: {reason}")).with_hint(hint)
    };
    automate_core::json::check_size(text, limit).map_err(|e| {
        refuse(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            e.to_string(),
            "Send less and nest it less, or refer to a row by its key; automate.max_payload_bytes is the limit on size.",
        )
    })?;
    serde_json::from_str(text).map_err(|e| {
        refuse(
            PgSqlErrorCode::ERRCODE_INVALID_JSON_TEXT,
            e.to_string(),
            "Check it with the jsonb type.",
        )
    })
}
