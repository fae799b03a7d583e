//! What is typed.

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use std::thread;
use tokio::sync::mpsc;

/// What somebody wants.
pub(super) enum Key {
    Quit,
    Next,
    Previous,
    /// Nothing, but the terminal has another size.
    Drawn,
}

/// Reads on a thread of its own, which ends with the process, or when nobody listens.
pub(super) fn read() -> mpsc::Receiver<Key> {
    let (told, keys) = mpsc::channel(8);
    thread::spawn(move || {
        while let Ok(event) = event::read() {
            if let Some(key) = key(&event)
                && told.blocking_send(key).is_err()
            {
                return;
            }
        }
    });
    keys
}

fn key(event: &Event) -> Option<Key> {
    let key = match event {
        Event::Resize(..) => return Some(Key::Drawn),
        Event::Key(key) if key.kind != KeyEventKind::Release => key,
        _ => return None,
    };
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => Some(Key::Quit),
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Quit),
        KeyCode::Down | KeyCode::Right | KeyCode::Tab | KeyCode::Char('j') => Some(Key::Next),
        KeyCode::Up | KeyCode::Left | KeyCode::BackTab | KeyCode::Char('k') => Some(Key::Previous),
        _ => None,
    }
}
