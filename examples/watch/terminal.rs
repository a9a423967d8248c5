//! The terminal: taken, drawn on, and given back as it was, whatever happens.

use std::{io, time::Duration};

use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
};

use super::{Watch, draw};
use crate::failure::Failure;

/// A terminal in raw mode, on its other screen. Given back when this is dropped, and before a panic is told.
#[derive(Debug)]
pub struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    ///
    /// If it cannot be switched.
    pub fn take() -> Result<Self, Failure> {
        let terminal = ratatui::try_init().map_err(|error| {
            // Half of it may be done.
            ratatui::restore();
            broken(&error)
        })?;
        Ok(Self { terminal })
    }

    /// Draws what is to be seen.
    ///
    /// # Errors
    ///
    /// If the terminal is gone.
    pub fn show(&mut self, watch: &Watch) -> Result<(), Failure> {
        let drawn = self.terminal.draw(|frame| draw(frame, watch));
        drawn.map(drop).map_err(|error| broken(&error))
    }

    /// Whether somebody wants to leave: `q`, Escape or Ctrl-C, which is a key like any other here. Does not wait.
    ///
    /// # Errors
    ///
    /// If the terminal is gone.
    pub fn is_left(&self) -> Result<bool, Failure> {
        let broken = |error: io::Error| broken(&error);
        while event::poll(Duration::ZERO).map_err(broken)? {
            if is_goodbye(&event::read().map_err(broken)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn is_goodbye(event: &Event) -> bool {
    let Event::Key(key) = event else {
        return false;
    };
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind != KeyEventKind::Release
        && match key.code {
            KeyCode::Char('c') => control,
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => true,
            _ => false,
        }
}

fn broken(error: &io::Error) -> Failure {
    Failure::new(format_args!(
        "cannot use the terminal: {error}; without one, redirect the output"
    ))
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::KeyEvent;

    use super::*;

    #[test]
    fn q_escape_and_control_c_are_ways_out() {
        let key = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
        let none = KeyModifiers::NONE;
        for code in [KeyCode::Char('q'), KeyCode::Char('Q'), KeyCode::Esc] {
            assert!(is_goodbye(&key(code, none)));
        }
        let c = KeyCode::Char('c');
        assert!(is_goodbye(&key(c, KeyModifiers::CONTROL)));
        assert!(!is_goodbye(&key(c, none)));
        assert!(!is_goodbye(&Event::Resize(80, 24)));
    }
}
