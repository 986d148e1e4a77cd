"""Speed, memory and flicker of toonified videos."""
