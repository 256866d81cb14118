"""Keys for buttons, as a hand would press them: once they can be pressed."""

from playwright.async_api import Locator, expect


async def press(button: Locator, key: str = "Enter") -> None:
    """Playwright waits for a button before it clicks, but a key goes out at once, and is lost without a word on one
    that is still hidden or disabled."""
    await expect(button).to_be_visible()
    await expect(button).to_be_enabled()
    await button.press(key)
